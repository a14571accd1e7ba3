"""Functions on an executor that the user gives."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Collection
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from contextvars import Context
from typing import TYPE_CHECKING, Any, NamedTuple

from radical.asyncflow.backend import ReportSink, TaskId, TaskRequest
from radical.asyncflow.errors import SerializationError, WorkerLostError
from radical.asyncflow.worker import (
    Raised,
    TaskContext,
    answer_pickled,
    call,
    close_loop,
    dump_arguments,
    dump_function,
    open_answer,
    safe_str,
)

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait

__all__ = ["GivenExecutor", "runs_here"]

_log = logging.getLogger("radical.asyncflow.concurrent")


def runs_here(executor: Executor) -> bool:
    """Tell whether *executor* is known to run functions in threads of this process."""
    return isinstance(executor, ThreadPoolExecutor)


class _Held(NamedTuple):
    """A task that the executor has."""

    request: TaskRequest
    job: TaskContext
    future: Future[Any]


class GivenExecutor:
    """Hands functions to *executor* and reports the outcomes of its futures."""

    def __init__(self, executor: Executor, sink: ReportSink) -> None:
        self._executor = executor
        self._sink = sink
        self._here = runs_here(executor)
        self._held: dict[TaskId, _Held] = {}

    def submit(self, request: TaskRequest) -> None:
        """Hand over a function.  If that fails, the task fails."""
        spec = request.spec
        job = TaskContext(spec.name, request.task_id, request.attempt)
        try:
            if self._here:
                context = Context() if request.context is None else request.context.copy()
                future = self._executor.submit(context.run, _run_here, self._sink, request, job)
            else:
                packed = _pack(request)
                future = self._executor.submit(
                    _run_there, packed, (job.name, job.task_id, job.attempt)
                )
        except SerializationError as exc:
            self._sink.failed(request.task_id, request.attempt, exc)
            return
        except (BrokenExecutor, RuntimeError) as exc:  # RuntimeError: it was shut down
            self._sink.failed(request.task_id, request.attempt, self._lost(request, exc))
            return
        except BaseException as exc:
            self._sink.failed(request.task_id, request.attempt, exc)
            return
        self._held[request.task_id] = _Held(request, job, future)
        if not self._here:
            # An executor does not tell when a function begins, and a timeout needs a start.
            self._sink.running(request.task_id, request.attempt)
        future.add_done_callback(functools.partial(self._done, request, job))

    def waits(self, task_ids: Collection[TaskId]) -> dict[TaskId, Wait]:
        """Return what those of the tasks wait for that have not begun."""
        from radical.asyncflow.backend import Wait, WaitKind  # here: most programs never ask

        held = {task_id: self._held[task_id] for task_id in task_ids if task_id in self._held}
        running = [
            each.request.task_id for each in tuple(self._held.values()) if each.future.running()
        ]
        wait = Wait(
            kind=WaitKind.SLOT,
            text=f"a place in the executor that was given, {type(self._executor).__name__}",
            holders=running[:5],
            held_by=len(running),
        )
        return {task_id: wait for task_id, each in held.items() if not each.future.running()}

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Cancel those that wait; ask those that run, in threads of this process, to stop."""
        for task_id in task_ids:
            held = self._held.get(task_id)
            if held is not None:
                held.job.cancel()
                held.future.cancel()  # if it waits: its callback reports before this returns

    def wait(self, *, cancel: bool, shutdown: bool, patience: float | None) -> None:
        """Wait until all functions have ended; abandon them after *patience* seconds."""
        deadline = None if patience is None else time.monotonic() + patience
        if cancel:
            self.cancel(tuple(self._held))
        held = tuple(self._held.values())
        _, late = wait([item.future for item in held], patience)
        if shutdown:
            self._executor.shutdown(wait=not late)  # what waited is cancelled by now
        for item in held:
            if item.future in late:
                _log.warning(
                    "task %r (#%d) does not return; it is left behind on %s",
                    *(item.job.name, item.job.task_id, type(self._executor).__name__),
                )
                if self._held.pop(item.request.task_id, None) is not None:
                    self._sink.cancelled(item.request.task_id, item.request.attempt)
        # A future is done before its callbacks have run, which takes hardly any time.
        while self._held and (deadline is None or time.monotonic() < deadline):
            time.sleep(0.001)

    def _done(self, request: TaskRequest, job: TaskContext, future: Future[Any]) -> None:
        """Report the outcome of *future*; called in the thread that ended it."""
        try:
            if job.kept is not None:
                self._sink.traced(request.task_id, request.attempt, job.kept.trace())
            if future.cancelled() or job.cancelled:
                self._sink.cancelled(request.task_id, request.attempt)
                return
            error = future.exception()
            if isinstance(error, BrokenExecutor):
                error = self._lost(request, error)
            value = None
            if error is None:
                value = future.result() if self._here else open_answer(*future.result())
                if type(value) is Raised:
                    error = value.error
            if error is None:
                self._sink.done(request.task_id, request.attempt, value)
            else:
                self._sink.failed(request.task_id, request.attempt, error)
        finally:
            held = self._held.get(request.task_id)
            if held is not None and held.request is request:
                del self._held[request.task_id]

    def _lost(self, request: TaskRequest, exc: BaseException) -> WorkerLostError:
        kind = type(self._executor).__name__
        error = WorkerLostError(
            request.spec.name,
            kind,
            None,
            request.attempt,
            f"the executor takes no more tasks ({safe_str(exc)}); "
            "executor_type='process' without executor= replaces a worker that dies",
        )
        error.__cause__ = exc
        return error


def _run_here(sink: ReportSink, request: TaskRequest, job: TaskContext) -> Any:
    sink.running(request.task_id, request.attempt)
    with job:
        try:
            return call(request.spec.function, request.args, request.kwargs)
        finally:
            close_loop()  # the thread is not ours, so nobody would close it later


def _pack(request: TaskRequest) -> tuple[bytes, bytes]:
    function = request.spec.function
    return dump_function(function), dump_arguments(function, request.args, request.kwargs)


def _run_there(packed: tuple[bytes, bytes], task: tuple[str, int, int]) -> tuple[int, bytes]:
    """Run a function in the executor's worker; only bytes go there and back."""
    try:
        with TaskContext(*task):
            return answer_pickled(*packed)
    finally:
        close_loop()
