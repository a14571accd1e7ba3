"""The backend: each slot is a thread that has a worker process, and runs one task at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Any

from radical.asyncflow.backend import (
    Command,
    ExecutableResult,
    ExecutionBackend,
    ReportSink,
    TaskId,
    TaskRequest,
)
from radical.asyncflow.worker import Execution, guard

from .capabilities import CAPABILITIES
from .config import SkeletonConfig
from .parent import Worker

POLL_S = 0.005  # between two looks at threads that are to end


class SkeletonBackend(ExecutionBackend):
    """Runs functions and commands in processes of this machine."""

    capabilities = CAPABILITIES

    def __init__(
        self,
        settings: SkeletonConfig,
        *,
        name: str = "skeleton",
    ) -> None:
        self.name = name
        self._grace = settings.grace
        self._news = threading.Condition()
        # The oldest first, which a plain dict is slow to find once many have left it.
        self._waiting: OrderedDict[TaskId, TaskRequest] = OrderedDict()
        self._running: dict[tuple[TaskId, int], Callable[[], None]] = {}  # how to end each
        self._cancelled: set[tuple[TaskId, int]] = set()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(settings.max_workers)
        ]

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        self._sink = sink  # of our own: the threads report after the shutdown, too
        for thread in self._threads:
            guard().acquire()  # the thread releases it
            thread.start()

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        with self._news:
            for request in batch:
                self._waiting[request.task_id] = request
            self._news.notify(len(batch))

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        with self._news:
            for task_id in task_ids:
                if request := self._waiting.pop(task_id, None):
                    self._sink.cancelled(task_id, request.attempt)
            for key, end in self._running.items():
                if key[0] in task_ids:
                    self._cancelled.add(key)
                    end()

    def capacity(self) -> int:
        return len(self._threads)

    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)
        with self._news:
            self._news.notify_all()
            held = {*self._waiting, *(task_id for task_id, _ in self._running)}
        if cancel:
            self.cancel(held)
        while any(thread.is_alive() for thread in self._threads):
            await asyncio.sleep(POLL_S)

    # Below this line: what happens in the threads.

    def _work(self) -> None:
        worker = Worker(self._sink)
        while (taken := self._take(worker)) is not None:
            self._run(*taken)
        worker.end()
        guard().release()

    def _take(self, worker: Worker) -> tuple[TaskRequest, Callable[[], Any]] | None:
        """Wait for a task; return it and what runs it, or None at the end."""
        with self._news:
            while not self._waiting:
                if self.is_shut_down:
                    return None
                self._news.wait()
            _, request = self._waiting.popitem(last=False)
            key = request.task_id, request.attempt
            if isinstance(request.command, Command):
                execution = self._execution(request, request.command)
                self._running[key] = execution.cancel
                return request, lambda: self._run_command(request, execution)
            worker.reset()
            self._running[key] = worker.kill
            return request, lambda: worker.call(request)

    def _execution(self, request: TaskRequest, command: Command) -> Execution:
        return Execution(
            command,
            name=request.spec.name,
            work_dir=self._sink.work_dir,
            capture_stdio=request.spec.capture_stdio,
            grace=self._grace,
            measure=self._sink.keeps_usage,
        )

    def _run_command(self, request: TaskRequest, execution: Execution) -> ExecutableResult:
        try:
            return execution.run()
        finally:
            if trace := execution.trace(output=self._sink.keeps_output):
                self._sink.traced(request.task_id, request.attempt, trace)

    def _run(self, request: TaskRequest, run: Callable[[], Any]) -> None:
        key = request.task_id, request.attempt
        self._sink.running(*key, threading.current_thread().name)
        error: BaseException | None = None
        value = None
        try:
            value = run()
        except BaseException as caught:
            # Also SystemExit and the like: a task ends no thread. The engine judges it.
            error = caught
        with self._news:
            del self._running[key]
            cancelled = key in self._cancelled
            self._cancelled.discard(key)
        if cancelled:
            self._sink.cancelled(*key)
        elif error is not None:
            self._sink.failed(*key, error)
        else:
            self._sink.done(*key, value)
