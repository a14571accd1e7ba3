"""What observers are told: frozen events, in batches, in the order they happened."""

from __future__ import annotations

from typing import NamedTuple

from .model import TaskKind, TaskState

__all__ = ["TaskEvent"]


class TaskEvent(NamedTuple):
    """A task entered a state.

    Attributes:
        time: seconds of the loop's monotonic clock.
        task_id: the number of the task in its engine.
        state: the state it entered; READY after a failed attempt means a retry.
        attempt: 1 for the first run.
        backend: name of the backend, or "" for a block.
        error: the exception, with FAILED, and with READY after a failed attempt.
    """

    time: float
    task_id: int
    name: str
    kind: TaskKind
    state: TaskState
    attempt: int = 1
    backend: str = ""
    worker: str | None = None
    error: BaseException | None = None
