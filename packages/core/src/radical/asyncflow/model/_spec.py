"""The spec of a task, which all its calls share: its kind, its body and its options."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .._public import public
from ._command import CommandOptions
from ._container import Container
from ._resources import DEFAULT_RESOURCES, Resources
from ._retry import RetryPolicy
from ._service import NO_SIGN, Readiness

__all__ = ["DESCRIPTION_KEYS", "TaskKind", "TaskSpec"]

DESCRIPTION_KEYS = (
    *("ranks", "cores_per_rank", "gpus_per_rank", "mem_per_rank"),
    *("shell", "cwd", "environment", "name", "timeout"),
)
"""The keys of a ``task_description`` that mean the same on every backend."""


@public("radical.asyncflow.model")
class TaskKind(enum.StrEnum):
    """The kind of a task: how its body is used."""

    FUNCTION = "function"
    """The body runs on the backend; its return value is the result."""
    EXECUTABLE = "executable"
    """The body returns a command; the backend runs it, and its stdout is the result."""
    PROMPT = "prompt"
    """The body returns a prompt; a backend with that capability answers it, and the answer is the
    result."""
    BLOCK = "block"
    """The body is a coroutine that runs in the engine's own loop; no backend sees it."""


@public("radical.asyncflow.model")
@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class TaskSpec:
    """Everything about a task that all its calls share.

    Attributes:
        name: the name that users and dashboards see; by default that of the function.
        function: the body.
        backend: the name of the backend it must run on; None for the default one.
        resources: what an attempt occupies; with *resources_of*, the first attempt.
        resources_of: gives the resources of each attempt; None if all have the same.
        priority: among tasks that wait for the same backend, those with a higher one go first.
        timeout: seconds that an attempt may take, from its start; None for no limit.
        capture_stdio: True if an executable's result is the path of the file that has its
            stdout, instead of the text.
        service: True if the task is done when it is up, and then runs until it is stopped or
            the workflow ends.
        readiness: how to see that a service is up.
        restarts: how many times a service that died is started again.
        description: what of the ``task_description`` is for the backend; it reaches it unchanged.
        version: the version of the body, as its author declares it.
        cache: True if a result in a journal may be used instead of a run: that of the same call
            in an earlier run or, with ``"always"``, that of any equal call.
        cache_key: the value that replaces the arguments in a call's identity, or a function of
            the arguments that returns one.
        mpi_result: what the result is of a function with ranks: ``"list"`` for the values of
            all ranks in their order, ``"root"`` for that of rank 0.
        uses: what the task reads beside its arguments: paths, `Env` and plain values.
        fire_and_forget: True if nobody has to await it: a failure is logged when it happens.
        shell: the words of the shell that runs a command line; empty for ``/bin/sh``.
        container: the container of an executable; None for that of the profile, if it has one,
            and False for none.
        answer: the pydantic model of which the result of a prompt task is an instance; None if
            the result is text.
        link_dependencies: True for a command that finds what those it depends on have written.
        command: what the ``task_description`` says about the command of the task; None for
            nothing.
        asked: the whole ``task_description``, with what in it means the same on every backend,
            and is in the fields above.
        given: the names of those resources and other parts of a ``task_description`` that
            options of the task give.
    """

    name: str
    kind: TaskKind
    function: Callable[..., Any]
    backend: str | None = None
    resources: Resources = DEFAULT_RESOURCES
    retries: RetryPolicy | None = None
    priority: float = 0
    timeout: float | None = None
    capture_stdio: bool = False
    service: bool = False
    description: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    cache: bool | Literal["always"] = True
    cache_key: Any = None
    uses: tuple[Any, ...] = ()
    resources_of: Callable[[int], Resources] | None = None
    readiness: Readiness = NO_SIGN
    restarts: int = 0
    answer: type | None = None
    mpi_result: Literal["list", "root"] = "list"
    link_dependencies: bool = False
    command: CommandOptions | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    fire_and_forget: bool = False
    shell: tuple[str, ...] = ()
    container: Container | Literal[False] | None = None
