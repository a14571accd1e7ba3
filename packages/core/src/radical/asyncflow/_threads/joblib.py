"""A backend of joblib that runs its batches as tasks; only who has joblib imports this."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from joblib import register_parallel_backend
from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

if TYPE_CHECKING:
    from .futures import TaskFuture

__all__ = ["register"]


class Workers(Protocol):
    """An executor, as far as joblib needs it."""

    @property
    def max_workers(self) -> int:
        """The number of batches that run at once."""

    def submit(self, fn: Callable[[], Any], /) -> TaskFuture[Any]:
        """Run a batch."""

    def check_thread(self, who: str) -> None:
        """Raise RuntimeError if the caller must not wait in its thread."""


class JoblibBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """An executor as joblib uses it: short calls go together, as many as joblib finds right."""

    supports_retrieve_callback = True
    supports_timeout = True
    default_n_jobs = -1

    def __init__(self, executor: Workers, **options: Any) -> None:
        super().__init__(**options)
        self._executor = executor
        self._unfinished: weakref.WeakSet[TaskFuture[Any]] = weakref.WeakSet()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many batches run at once; ``-1`` is as many as the backend can."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs < 0:
            return max(self._executor.max_workers + 1 + n_jobs, 1)
        return n_jobs

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_more: Any) -> int:
        """Begin a `joblib.Parallel`, and return how many batches run at once.

        Raises:
            RuntimeError: it would wait in the thread of the loop that runs the tasks.
        """
        self._executor.check_thread("joblib waits")
        self.parallel = parallel
        return self.effective_n_jobs(n_jobs)

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any]) -> TaskFuture[Any]:
        """Call *func*, a batch, in a task; *callback* gets the future when it is done."""
        future = self._executor.submit(func)
        self._unfinished.add(future)
        future.add_done_callback(callback)
        return future

    apply_async = submit  # joblib before 1.5

    def retrieve_result_callback(self, future: TaskFuture[Any]) -> Any:
        """Return the results of a batch that is done, or raise what it raised."""
        return future.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002
        """Cancel what has not ended, after an error or Ctrl-C."""
        for future in list(self._unfinished):
            future.cancel()


def register(name: str, executor: Workers) -> None:
    """Let joblib find *executor* by *name*."""
    register_parallel_backend(name, partial(JoblibBackend, executor))
