"""The backend: an executor that somebody else wrote, with the contract around it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Collection, Sequence

from radical.asyncflow.backend import ExecutionBackend, ReportSink, TaskId, TaskRequest
from radical.asyncflow.worker import TaskContext, call, close_loop

from .capabilities import CAPABILITIES
from .config import SkeletonConfig


class SkeletonBackend(ExecutionBackend):
    """Runs functions on an executor of the standard library."""

    capabilities = CAPABILITIES

    def __init__(
        self,
        settings: SkeletonConfig,
        *,
        name: str = "skeleton",
    ) -> None:
        self.name = name
        self._grace = settings.grace
        self._pool = concurrent.futures.ThreadPoolExecutor(settings.max_workers, name)
        self._held: dict[concurrent.futures.Future[None], TaskContext] = {}

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        self._sink = sink  # of our own: what runs reports after the shutdown, too

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        for request in batch:
            context = TaskContext(request.spec.name, request.task_id, request.attempt)
            future = self._pool.submit(self._run, request, context)
            self._held[future] = context
            future.add_done_callback(self._held.pop)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        wanted = frozenset(task_ids)
        for future, context in list(self._held.items()):
            if context.task_id not in wanted:
                continue
            if future.cancel():  # it waits, and will never begin
                self._sink.cancelled(context.task_id, context.attempt)
            else:
                context.cancel()  # it runs: `radical.asyncflow.cancelled()` is true in it now

    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)
        if cancel:
            self.cancel([context.task_id for context in list(self._held.values())])
        if held := list(map(asyncio.wrap_future, list(self._held))):
            # Without cancel everything is finished first, however long that takes.
            await asyncio.wait(held, timeout=self._grace if cancel else None)
        self._pool.shutdown(wait=False)

    # Below this line: what happens in the threads.

    def _run(self, request: TaskRequest, context: TaskContext) -> None:
        key = request.task_id, request.attempt
        self._sink.running(*key)
        try:
            with context:
                value = call(request.spec.function, request.args, request.kwargs)
        except BaseException as error:
            # Also SystemExit and the like: a task ends no thread. The engine judges it.
            if context.cancelled:
                self._sink.cancelled(*key)
            else:
                self._sink.failed(*key, error)
        else:
            self._sink.done(*key, value)
        finally:
            close_loop()
