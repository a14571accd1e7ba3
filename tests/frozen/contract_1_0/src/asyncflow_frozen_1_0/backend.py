"""A backend that uses what the page "Writing a backend" named when the contract was 1.0."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import ExecutionBackend, ReportSink, TaskKind, TaskRequest
from radical.asyncflow.errors import BackendStartError
from radical.asyncflow.worker import Execution, TaskContext, call, close_loop, guard

from .capabilities import CAPABILITIES
from .config import FrozenConfig


class FrozenBackend(ExecutionBackend):
    """Runs functions and commands in threads."""

    capabilities = CAPABILITIES

    def __init__(self, settings: FrozenConfig, *, name: str = "frozen_1_0") -> None:
        self.name = name
        self._settings = settings
        self._news = threading.Condition()
        self._waiting: dict[int, TaskRequest] = {}
        self._running: dict[tuple[int, int], TaskContext | Execution] = {}
        self._threads: list[threading.Thread] = []
        self._guarded = False

    # ------------------------------------------------------------ the contract

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        self._sink = sink
        try:
            await in_thread(guard().acquire)
        except OSError as error:
            raise BackendStartError(f"no guard: {error}") from error
        self._guarded = True
        for number in range(self._settings.max_workers):
            thread = threading.Thread(
                target=self._work, name=f"{self.name}-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink
        with self._news:
            self._waiting.update((request.task_id, request) for request in batch)
            self._news.notify(len(batch))

    def cancel(self, task_ids: Collection[int]) -> None:
        with self._news:
            for task_id in task_ids:
                if request := self._waiting.pop(task_id, None):
                    self._sink.cancelled(task_id, request.attempt)
            running = [work for key, work in self._running.items() if key[0] in task_ids]
        for work in running:
            work.cancel()

    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)
        with self._news:
            self._news.notify_all()
            held = {*self._waiting, *(task_id for task_id, _ in self._running)}
        if cancel and held:
            self.cancel(held)
        limit = time.monotonic() + 10 if cancel else float("inf")
        while any(each.is_alive() for each in self._threads) and time.monotonic() < limit:
            await asyncio.sleep(0.005)
        if self._guarded:
            self._guarded = False
            await in_thread(guard().release)

    def capacity(self) -> int:
        return self._settings.max_workers

    def plan(self) -> Mapping[str, Any]:
        return {"threads": self._settings.max_workers}

    # -------------------------------------------------------------- the threads

    def _work(self) -> None:
        while (request := self._take()) is not None:
            self._run(request)
        close_loop()

    def _take(self) -> TaskRequest | None:
        with self._news:
            while not self._waiting:
                if self.is_shut_down:
                    return None
                self._news.wait()
            request = self._waiting.pop(next(iter(self._waiting)))
            task_id, attempt, spec = request[:3]
            work: TaskContext | Execution
            if spec.kind is TaskKind.EXECUTABLE:
                work = Execution(
                    request.command,
                    name=spec.name,
                    work_dir=self._sink.work_dir,
                    capture_stdio=spec.capture_stdio,
                    grace=self._settings.grace,
                )
            else:
                work = TaskContext(spec.name, task_id, attempt)
            self._running[task_id, attempt] = work
            return request

    def _run(self, request: TaskRequest) -> None:
        key = request.task_id, request.attempt
        work = self._running[key]
        cancelled = False
        error: BaseException | None = None
        value: Any = None
        self._sink.running(*key, f"{threading.current_thread().name} of {os.getpid()}")
        try:
            if isinstance(work, Execution):
                value = work.run()
                cancelled = work.cancelled
            else:
                with work:
                    value = call(request.spec.function, request.args, request.kwargs)
        except BaseException as raised:
            error = raised
            cancelled = bool(work.cancelled)
        with self._news:
            del self._running[key]
        if cancelled:
            self._sink.cancelled(*key)
        elif error is not None:
            self._sink.failed(*key, error)
        else:
            self._sink.done(*key, value)
