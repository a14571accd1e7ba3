"""Worker processes of our own behind the `concurrent.futures.Executor` interface."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from radical.asyncflow.backend import AnyReport, TaskId, TaskKind, TaskRequest, TaskSpec, TaskState
from radical.asyncflow.worker import Codes, guard

from .._slots.process_slot import ProcessSlot
from .._slots.resources import Ledger, machine_cores
from .._slots.slots import Slots

__all__ = ["WorkerPool"]

P = ParamSpec("P")
T = TypeVar("T")


class WorkerPool(Executor):
    """Runs functions in processes that survive each other's death.

    Unlike `concurrent.futures.ProcessPoolExecutor` it never imports the program's
    ``__main__``; functions travel by value where they must.  A worker that dies costs
    the one task it was running, which fails with `WorkerLostError`, and is replaced.
    """

    def __init__(
        self, max_workers: int | None = None, *, name: str = "worker", grace: float = 5.0
    ) -> None:
        codes = Codes()
        size = machine_cores() if max_workers is None else max_workers
        if size < 1:
            raise ValueError(f"max_workers must be at least 1, not {max_workers!r}")
        self._futures: dict[TaskId, Future[Any]] = {}
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._closed = False
        self._released = False
        self._slots = Slots(
            Ledger(size, 0, ()),
            _FutureSink(self._futures),
            lambda slots, number: ProcessSlot(slots, number, name=name, grace=grace, codes=codes),
        )
        guard().acquire()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        name = getattr(fn, "__name__", type(fn).__name__)
        spec = TaskSpec(name, TaskKind.FUNCTION, fn)
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot submit to a WorkerPool that was shut down")
            task_id = next(self._ids)
            future: Future[T] = _PoolFuture(self._slots, task_id)
            self._futures[task_id] = future
            self._slots.submit([TaskRequest(task_id, 1, spec, args, kwargs)])
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._closed = True
        if cancel_futures:
            self._slots.cancel(list(self._slots.waiting))
        self._slots.close(cancel=False)
        if wait:
            self._finish()
        else:
            threading.Thread(target=self._finish, name="WorkerPool-shutdown", daemon=True).start()

    def _finish(self) -> None:
        self._slots.wait(None)
        with self._lock:
            released, self._released = self._released, True
        if not released:
            guard().release()


class _PoolFuture(Future[T]):
    def __init__(self, slots: Slots, task_id: TaskId) -> None:
        super().__init__()
        self._slots = slots
        self._task_id = task_id

    def cancel(self) -> bool:
        """Cancel it if it waits; like any executor's future, not when it runs."""
        if self._task_id in self._slots.waiting:
            self._slots.cancel([self._task_id])
        return self.cancelled()


class _FutureSink:
    """Turns reports into the states of futures."""

    def __init__(self, futures: dict[TaskId, Future[Any]]) -> None:
        self._futures = futures

    @property
    def uid(self) -> str:
        return "pool"

    def work_dir(self) -> Path:
        return Path.cwd()

    @property
    def watched(self) -> bool:
        return False

    def report(self, reports: Iterable[AnyReport]) -> None:
        for task_id, attempt, state, value, _ in reports:
            if state is TaskState.DONE:
                self.done(task_id, attempt, value)
            elif state is TaskState.FAILED:
                self.failed(task_id, attempt, value)
            elif state is TaskState.CANCELLED:
                self.cancelled(task_id, attempt)

    def running(self, task_id: TaskId, attempt: int, worker: str | None = None) -> None:  # noqa: ARG002
        future = self._futures.get(task_id)
        if future is not None and not future.running():
            future.set_running_or_notify_cancel()

    def done(self, task_id: TaskId, attempt: int, value: Any) -> None:  # noqa: ARG002
        self._futures.pop(task_id).set_result(value)

    def failed(self, task_id: TaskId, attempt: int, error: BaseException) -> None:  # noqa: ARG002
        self._futures.pop(task_id).set_exception(error)

    def cancelled(self, task_id: TaskId, attempt: int) -> None:  # noqa: ARG002
        future = self._futures.pop(task_id)
        Future.cancel(future)
        future.set_running_or_notify_cancel()

    def lost(self, error: BaseException) -> None:
        for task_id in tuple(self._futures):
            self.failed(task_id, 1, error)
