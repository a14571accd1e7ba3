"""The states of a task, and the transitions between them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from .._public import public
from ..errors import AsyncFlowError

__all__ = ["TRANSITIONS", "TaskState", "TransitionError", "check_transition"]


@public("radical.asyncflow.model")
class TaskState(enum.IntEnum):
    """The state of a task; those from DONE on are final."""

    PENDING = 0
    READY = 1
    SUBMITTED = 2
    RUNNING = 3
    DONE = 4
    FAILED = 5
    CANCELLED = 6

    @property
    def public(self) -> str:
        """The name of the state that users see."""
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


class TransitionError(AsyncFlowError, RuntimeError):
    """The engine moved a task to a state that may not follow its present one.

    This is an error of the engine itself, never of a program or of a backend (whose impossible
    reports are dropped).  Nothing was changed.
    """


def check_transition(old: TaskState, new: TaskState) -> None:
    """Raise TransitionError unless *new* may follow *old*."""
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(state.name for state in TRANSITIONS[old])) or "nothing"
        raise TransitionError(f"{old.name} may be followed by {allowed}, not by {new.name}")
