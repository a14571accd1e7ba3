"""The spec of a task, which all its calls share: its kind, its body and its options."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .._public import public
from ._resources import DEFAULT_RESOURCES, Resources
from ._retry import RetryPolicy

__all__ = ["TaskKind", "TaskSpec"]


@public("radical.asyncflow.model")
class TaskKind(enum.StrEnum):
    """How a task's body is used."""

    FUNCTION = "function"
    """The body runs on the backend; its return value is the result."""
    EXECUTABLE = "executable"
    """The body returns a command; the backend runs that, its stdout is the result."""
    PROMPT = "prompt"
    """The body returns a prompt; a backend with that capability answers it."""
    BLOCK = "block"
    """The body is a coroutine in the engine's own loop; no backend sees it."""


@public("radical.asyncflow.model")
@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class TaskSpec:
    """Everything about a task that all its calls share.

    Attributes:
        name: what users and dashboards see; the function's name unless given.
        function: the body.
        backend: the name of the backend it must run on; None for the engine's first.
        timeout: seconds a run may take, from its start; None for no limit.
        capture_stdio: an executable's result is the path of the file that holds
            its stdout, instead of the text.
        service: runs until the workflow ends, for backends with that capability.
        description: ``task_description``: reaches the backend untouched.
        version: of the body, as its author declares it.
        cache: whether a journal's result may stand for a run: that of the same call in an
            earlier run, or, with ``"always"``, that of any equal call.
        cache_key: stands for the arguments in a call's identity: a value, or a function of
            the arguments that returns one.
    """

    name: str
    kind: TaskKind
    function: Callable[..., Any]
    backend: str | None = None
    resources: Resources = DEFAULT_RESOURCES
    retries: RetryPolicy | None = None
    timeout: float | None = None
    capture_stdio: bool = False
    service: bool = False
    description: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    cache: bool | Literal["always"] = True
    cache_key: Any = None
