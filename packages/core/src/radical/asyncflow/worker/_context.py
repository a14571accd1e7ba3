"""The task that runs here, and whether it was cancelled."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from .._public import public

__all__ = ["RankContext", "TaskContext", "cancelled", "current_task", "set_current"]

_current: ContextVar[TaskContext | None] = ContextVar("asyncflow_task", default=None)
set_current = _current.set


@public("radical.asyncflow.worker")
class TaskContext:
    """One attempt at one task, as its own code can see it; enter it to make it current.

    Attributes:
        name, task_id, attempt: as in the request.
        gpus: the GPUs that were assigned to the task, as ``CUDA_VISIBLE_DEVICES`` names them:
            by number, or as ``GPU-...`` or ``MIG-...``.
        comm: the communicator of a function with ``ranks``, an ``mpi4py.MPI.Intracomm`` of
            these ranks alone; None for every other task.
        cancelled: whether `cancel` was called.
        kept: what the task has printed and logged; None if it has not, or if nobody keeps it.
        on_cancel: called by `cancel`, in the thread that cancels.  Whoever runs the
            task sets it, and looks at `cancelled` once afterwards.
    """

    # Thread workers make and enter one for each task: no lock, no event.

    __slots__ = ("_token", "attempt", "cancelled", "gpus", "kept", "name", "on_cancel", "task_id")

    comm: Any = None

    def __init__(
        self, name: str, task_id: int, attempt: int = 1, gpus: tuple[int | str, ...] = ()
    ) -> None:
        self.name = name
        self.task_id = task_id
        self.attempt = attempt
        self.gpus = gpus
        self.cancelled = False
        self.kept: Any = None  # a `Kept`, whose module imports far more than this one
        self.on_cancel: Callable[[], object] | None = None

    def cancel(self) -> None:
        """Ask the task to stop; from any thread, at any moment, any number of times."""
        self.cancelled = True
        on_cancel = self.on_cancel
        if on_cancel is not None:
            on_cancel()

    def __enter__(self) -> TaskContext:
        self._token: Token[TaskContext | None] = _current.set(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _current.reset(self._token)

    def __repr__(self) -> str:
        state = " cancelled" if self.cancelled else ""
        return f"<TaskContext {self.name!r} #{self.task_id} attempt {self.attempt}{state}>"


@public("radical.asyncflow.worker")
class RankContext(TaskContext):
    """One rank of an attempt at a task with several.

    Attributes:
        comm: the communicator of the ranks.
    """

    __slots__ = ("comm",)

    def __init__(
        self, name: str, task_id: int, attempt: int, gpus: tuple[int | str, ...], comm: Any
    ) -> None:
        super().__init__(name, task_id, attempt, gpus)
        self.comm = comm


@public("radical.asyncflow")
def current_task() -> TaskContext | None:
    """Return the task whose code calls this; None outside a task, or in a thread of its own."""
    return _current.get()


@public("radical.asyncflow")
def cancelled() -> bool:
    """Return whether the task whose code calls this was cancelled; False outside a task."""
    context = _current.get()
    return context is not None and context.cancelled
