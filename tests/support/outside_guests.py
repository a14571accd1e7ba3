"""Backends that the tests run out of process; imported there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Sequence
from typing import Any

from radical.asyncflow.backend import (
    Capabilities,
    ExecutionBackend,
    OutOfProcessBackend,
    ReportSink,
    TaskId,
    TaskKind,
    TaskRequest,
    Wait,
    WaitKind,
)
from radical.asyncflow.worker import (
    Execution,
    Meter,
    TaskContext,
    call,
    close_loop,
    keep_output,
    trace_of,
)

CAPABILITIES = Capabilities(
    kinds={TaskKind.FUNCTION, TaskKind.EXECUTABLE},
    kills_running={TaskKind.EXECUTABLE},
    pickles=True,
    isolates=False,
)


class Crew(ExecutionBackend):
    """Threads that run functions and commands; the threads of one queue."""

    capabilities = CAPABILITIES

    def __init__(self, settings: Any = None, *, name: str = "crew") -> None:
        self.name = name
        self.slots = 2 if settings is None else settings["slots"]
        self._news = threading.Condition()
        self._waiting: dict[TaskId, TaskRequest] = {}
        self._running: dict[tuple[TaskId, int], Any] = {}
        self._threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(self.slots)
        ]

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        self._sink = sink
        self._leave = keep_output() if sink.keeps_output else None
        for thread in self._threads:
            thread.start()

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink
        with self._news:
            for request in batch:
                self._waiting[request.task_id] = request
            self._news.notify(len(batch))

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        with self._news:
            for task_id in task_ids:
                if request := self._waiting.pop(task_id, None):
                    self._sink.cancelled(task_id, request.attempt)
            for (task_id, _), work in self._running.items():
                if task_id in task_ids:
                    work.cancel()

    def waits(self, task_ids: Collection[TaskId]) -> dict[TaskId, Wait]:
        wait = Wait(kind=WaitKind.SLOT, text=f"one of the {self.slots} threads")
        with self._news:
            return {task_id: wait for task_id in task_ids if task_id in self._waiting}

    def capacity(self) -> int:
        return self.slots

    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)
        with self._news:
            self._news.notify_all()
            held = {*self._waiting, *(task_id for task_id, _ in self._running)}
        if cancel:
            self.cancel(held)
        while any(thread.is_alive() for thread in self._threads) and not (
            cancel and not self._running
        ):
            await asyncio.sleep(0.005)

    def _work(self) -> None:
        while True:
            with self._news:
                while not self._waiting:
                    if self.is_shut_down:
                        close_loop()
                        return
                    self._news.wait()
                request = self._waiting.pop(next(iter(self._waiting)))
                key = request.task_id, request.attempt
                work = self._running[key] = self._make_work(request)
            try:
                self._run(request, work)
            finally:
                with self._news:
                    del self._running[key]

    def _make_work(self, request: TaskRequest) -> Any:
        if request.spec.kind is TaskKind.FUNCTION:
            return TaskContext(request.spec.name, request.task_id, request.attempt)
        return Execution(
            request.command,  # type: ignore[arg-type]
            name=request.spec.name,
            work_dir=self._sink.work_dir,
            capture_stdio=request.spec.capture_stdio,
            grace=1.0,
        )

    def _run(self, request: TaskRequest, work: Any) -> None:
        key = request.task_id, request.attempt
        self._sink.running(*key, threading.current_thread().name)
        try:
            if isinstance(work, Execution):
                value: Any = work.run()
            else:
                value = self._call(request, work)
        except BaseException as error:
            if work.cancelled:
                self._sink.cancelled(*key)
            else:
                self._sink.failed(*key, error)
        else:
            if work.cancelled and isinstance(work, Execution):
                self._sink.cancelled(*key)
            else:
                self._sink.done(*key, value)

    def _call(self, request: TaskRequest, context: TaskContext) -> Any:
        meter = Meter(whole_process=False) if self._sink.keeps_usage else None
        if meter is not None:
            meter.begin(id(request.spec.function))
        try:
            with context:
                return call(request.spec.function, request.args, request.kwargs)
        finally:
            trace = trace_of(context, None if meter is None else meter.end())
            if trace is not None:
                self._sink.traced(request.task_id, request.attempt, trace)


class OutsideCrew(OutOfProcessBackend):
    """The same in a process of its own."""

    guest = "outside_guests:Crew"
    capabilities = CAPABILITIES

    def __init__(self, settings: Any = None, *, name: str = "outside", **more: Any) -> None:
        super().__init__(settings, name=name, **more)
