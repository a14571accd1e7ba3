"""Let the error of a task be told by that of a dependent, which ends with it.

So asyncio need not say that it "was never retrieved".  That is left to asyncio where the error of
the dependent was looked at before, because what comes later would be seen by nobody.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, ref

from .._graph.arguments import rewrite_call
from .._graph.items import parent_of
from .._graph.scheduler import Resolution
from .._task.future import TaskFuture
from ..errors import DependencyFailureError
from ..model import TaskState

__all__ = ["Heirs", "note_arguments"]


def note_arguments(future: TaskFuture[Any]) -> None:
    """Note that the error of *future* names the failed tasks among its arguments."""

    def note(leaf: Any) -> Any:
        found = parent_of(leaf)
        if isinstance(found, TaskFuture) and found._stage is TaskState.FAILED and found.done():
            found._log_traceback = False
        return leaf

    rewrite_call(future._args, future._kwargs, note)


class Heirs:
    """The failures that the errors of dependents tell."""

    def __init__(self) -> None:
        self._last: WeakKeyDictionary[TaskFuture[Any], ref[Any]] = WeakKeyDictionary()

    def note(self, resolution: Resolution, error: BaseException) -> bool:
        """Add *error*, by which a task failed, to those of its dependents.

        Returns:
            Whether one of these tells it to somebody.
        """
        future: Any = resolution.node
        if resolution.heir is not None:
            self._last[future] = ref(resolution.heir)
            return True
        told = False
        for other in resolution.late:
            last = self._unseen(other)
            if last is not None and isinstance(last._exception, DependencyFailureError):
                last._exception._note_failed(future.name, error)
                told = True
        return told

    def _unseen(self, future: Any) -> Any:
        """Return the last that failed because of *future*, if nobody has looked at its error."""
        heir = self._last.get(future)
        last = future if heir is None else heir()
        return last if last is not None and last._log_traceback else None
