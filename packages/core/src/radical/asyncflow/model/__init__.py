"""What a task is: its states, its options and what it asks for. Values only.

The life of a task::

    PENDING ──► READY ──► SUBMITTED ──► RUNNING ──► DONE
       │          ▲           │            │    ├─► FAILED
       │          └── retry ──┴────────────┘    └─► CANCELLED
       └─► FAILED, CANCELLED  (so may READY and SUBMITTED)

``PENDING`` waits for dependencies, ``READY`` for the next flush to its backend,
``SUBMITTED`` for a worker.  ``TRANSITIONS`` is the only place that says which
state may follow which.  Users see five names: PENDING (for the first three),
RUNNING, DONE, FAILED and CANCELLED.

This module and those it is made of are on the lowest floor: they know no event loop,
thread, clock or file.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from ..errors import TransitionError
from ._command import Command, ExecutableResult, Prompt
from ._durations import parse_duration
from ._resources import DEFAULT_RESOURCES, Resources, parse_size
from ._retry import RetryPolicy, retry_delay

__all__ = [
    "DEFAULT_RESOURCES",
    "TRANSITIONS",
    "Command",
    "ExecutableResult",
    "Prompt",
    "Resources",
    "RetryPolicy",
    "TaskKind",
    "TaskSpec",
    "TaskState",
    "check_transition",
    "parse_duration",
    "parse_size",
    "retry_delay",
]


class TaskState(enum.IntEnum):
    """Where a task stands; those from DONE on are final."""

    PENDING = 0
    READY = 1
    SUBMITTED = 2
    RUNNING = 3
    DONE = 4
    FAILED = 5
    CANCELLED = 6

    @property
    def public(self) -> str:
        """The name that users see."""
        return "PENDING" if self < TaskState.RUNNING else self.name


_S = TaskState
TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = MappingProxyType(
    {
        _S.PENDING: frozenset({_S.READY, _S.FAILED, _S.CANCELLED}),
        _S.READY: frozenset({_S.PENDING, _S.READY, _S.SUBMITTED, _S.FAILED, _S.CANCELLED}),
        _S.SUBMITTED: frozenset({_S.RUNNING, _S.READY, _S.DONE, _S.FAILED, _S.CANCELLED}),
        _S.RUNNING: frozenset({_S.READY, _S.DONE, _S.FAILED, _S.CANCELLED}),
        _S.DONE: frozenset(),
        _S.FAILED: frozenset(),
        _S.CANCELLED: frozenset(),
    }
)


def check_transition(old: TaskState, new: TaskState) -> None:
    """Raise TransitionError unless *new* may follow *old*."""
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(state.name for state in TRANSITIONS[old])) or "nothing"
        raise TransitionError(f"{old.name} may be followed by {allowed}, not by {new.name}")


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
