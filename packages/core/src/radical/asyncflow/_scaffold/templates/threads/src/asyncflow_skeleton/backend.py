"""The backend: threads that take tasks from one queue."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import time
from collections.abc import Collection, Sequence

from radical.asyncflow.backend import ExecutionBackend, ReportSink, TaskId, TaskRequest
from radical.asyncflow.worker import TaskContext, call, close_loop

from .capabilities import CAPABILITIES
from .config import SkeletonConfig

POLL_S = 0.005  # between two looks at threads that are to end


class SkeletonBackend(ExecutionBackend):
    """Runs functions in threads of the program."""

    capabilities = CAPABILITIES

    def __init__(
        self,
        settings: SkeletonConfig,
        *,
        name: str = "skeleton",
    ) -> None:
        self.name = name
        self._grace = settings.grace
        self._news = threading.Condition()  # guards what follows
        self._waiting: dict[TaskId, TaskRequest] = {}
        self._order: list[tuple[float, int, int, TaskRequest]] = []  # a heap of what waits
        self._arrivals = itertools.count()
        self._running: dict[tuple[TaskId, int], TaskContext] = {}  # by task and attempt
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(settings.max_workers)
        ]

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        self._sink = sink  # of our own: the threads report after the shutdown, too
        for thread in self._threads:
            thread.start()

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        with self._news:
            for request in batch:
                self._waiting[request.task_id] = request
                rank = -request.spec.priority, -request.depth, next(self._arrivals)
                heapq.heappush(self._order, (*rank, request))
            self._news.notify(len(batch))

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        wanted = frozenset(task_ids)
        with self._news:
            for task_id in wanted:
                if request := self._waiting.pop(task_id, None):
                    self._sink.cancelled(task_id, request.attempt)
            for (task_id, _), context in self._running.items():
                if task_id in wanted:
                    context.cancel()

    def capacity(self) -> int:
        return len(self._threads)

    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)
        with self._news:
            self._news.notify_all()
            held = {*self._waiting, *(task_id for task_id, _ in self._running)}
        if cancel:
            self.cancel(held)
        # Without cancel everything is finished first, however long that takes.
        deadline = time.monotonic() + self._grace if cancel else float("inf")
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S)

    # Below this line: what happens in the threads.

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            self._run(*taken)
        close_loop()

    def _take(self) -> tuple[TaskRequest, TaskContext] | None:
        """Wait for the task that is first in the order; None at the end."""
        with self._news:
            while True:
                while self._order:
                    request = heapq.heappop(self._order)[-1]
                    # A task that was cancelled meanwhile waits no longer, or for its next attempt.
                    if self._waiting.get(request.task_id) is request:
                        del self._waiting[request.task_id]
                        context = TaskContext(request.spec.name, request.task_id, request.attempt)
                        self._running[request.task_id, request.attempt] = context
                        return request, context
                if self.is_shut_down:
                    return None
                self._news.wait()

    def _run(self, request: TaskRequest, context: TaskContext) -> None:
        key = request.task_id, request.attempt
        function, args, kwargs = request.spec.function, request.args, request.kwargs
        self._sink.running(*key, threading.current_thread().name)
        try:
            if request.context is not None:
                # In a copy, because other calls and attempts may share it.
                value = request.context.copy().run(call, function, args, kwargs, context)
            else:
                with context:
                    value = call(function, args, kwargs)
        except BaseException as error:
            # Also SystemExit and the like: a task ends no thread. The engine judges it.
            if context.cancelled:
                self._sink.cancelled(*key)
            else:
                self._sink.failed(*key, error)
        else:
            self._sink.done(*key, value)
        finally:
            with self._news:
                del self._running[key]
