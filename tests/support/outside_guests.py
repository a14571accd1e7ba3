"""Backends that the tests run out of process; imported there."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import (
    Capabilities,
    Command,
    ExecutionBackend,
    OutOfProcessBackend,
    ReportSink,
    Serving,
    TaskId,
    TaskKind,
    TaskRequest,
    TaskSpec,
    Wait,
    WaitKind,
)
from radical.asyncflow.errors import BackendStartError, ConfigurationError
from radical.asyncflow.worker import (
    Execution,
    Meter,
    ServiceExecution,
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
    service=True,
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
        for thread in self._threads:
            await in_thread(thread.join)

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
        options: dict[str, Any] = {
            "name": request.spec.name,
            "work_dir": self._sink.work_dir,
            "capture_stdio": request.spec.capture_stdio,
            "grace": 1.0,
        }
        assert isinstance(request.command, Command)
        if not request.spec.service:
            return Execution(request.command, **options)

        def tell(stdout: str, stderr: str, info: str | None) -> None:
            self._sink.serving(request.task_id, request.attempt, Serving(stdout, stderr, info))

        return ServiceExecution(request.command, request.spec.readiness, tell, **options)

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


class Sudden(ExecutionBackend):
    """A backend that begins some tasks and has the process end before it can tell anybody.

    The settings say how many it begins, in one call of ``submit`` or several, and how the process
    ends then.
    """

    capabilities = Capabilities(kinds={TaskKind.FUNCTION}, pickles=True)

    def __init__(self, settings: dict[str, Any], *, name: str) -> None:
        self.name = name
        self._begins = settings["begins"]
        self._end = settings["end"]

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        begun = batch[: self._begins]
        for request in begun:
            self.sink.running(request.task_id, request.attempt)
        self._begins -= len(begun)
        if self._begins:
            return
        if self._end == "exit":
            os._exit(7)
        os.kill(os.getpid(), signal.SIGKILL)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Do nothing."""


class OutsideSudden(OutOfProcessBackend):
    guest = "outside_guests:Sudden"
    capabilities = Sudden.capabilities


class Hostile(ExecutionBackend):
    """A runtime without manners, which does its work all the same."""

    capabilities = Capabilities(kinds={TaskKind.FUNCTION}, pickles=True)

    def __init__(self, *, name: str) -> None:
        self.name = name

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, force=True)
        logging.getLogger().setLevel(1)
        asyncio.set_event_loop_policy(_NoLoops())
        asyncio.set_event_loop(None)
        threading.Thread(target=time.sleep, args=(10_000,)).start()  # would keep it from ending
        self.children = [os.fork() for _ in range(2)]
        if 0 in self.children:
            os.setsid()
            sink.done(1, 1, "from a fork")  # must reach nobody
            signal.pause()
        os.chdir("/")
        print("hello from the hostile runtime")
        os.write(1, b"and from below\n")

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        logging.error("a batch of %d", len(batch))
        for request in batch:
            if request.spec.name == "exits":
                raise SystemExit(5)
            self.sink.done(request.task_id, request.attempt, [os.getpid(), *self.children])

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        raise SystemExit(f"no cancel of {task_ids}")

    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)
        raise KeyboardInterrupt


class _NoLoops(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        raise RuntimeError("no loops here")


class OutsideHostile(OutOfProcessBackend):
    guest = "outside_guests:Hostile"
    capabilities = Hostile.capabilities


class Stuck(ExecutionBackend):
    """A backend that blocks its loop with the first task that it gets."""

    capabilities = Capabilities(kinds={TaskKind.FUNCTION}, pickles=True)

    def __init__(self, *, name: str) -> None:
        self.name = name

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        self.sink.running(batch[0].task_id, batch[0].attempt)
        time.sleep(10_000)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Do nothing: it never comes to this."""


class OutsideStuck(OutOfProcessBackend):
    guest = "outside_guests:Stuck"
    capabilities = Stuck.capabilities
    end_limit_s = 0.2


class Unfit(ExecutionBackend):
    """A backend that does not start, in the way that its settings say."""

    capabilities = Capabilities(kinds={TaskKind.FUNCTION}, pickles=True)

    def __init__(self, settings: str, *, name: str) -> None:
        self.name = name
        self._settings = settings
        if settings == "remote results":
            self.capabilities = Capabilities(
                kinds={TaskKind.FUNCTION}, pickles=True, remote_results=True
            )

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        print("the last words of a runtime")
        sys.stdout.flush()
        if self._settings == "raise":
            raise ConnectionRefusedError("no runtime answers")
        if self._settings == "start error":
            raise BackendStartError("the licence is used up")
        if self._settings == "exit":
            os._exit(9)
        await asyncio.sleep(10_000)

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Do nothing."""

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Do nothing."""


class OutsideUnfit(OutOfProcessBackend):
    guest = "outside_guests:Unfit"
    capabilities = Unfit.capabilities


class Fussy(ExecutionBackend):
    """A backend that answers with what it got, loses itself on demand, and checks specs."""

    capabilities = Capabilities(
        kinds={TaskKind.FUNCTION}, resources={"cores"}, pickles=True, contexts=False
    )

    def __init__(self, *, name: str) -> None:
        self.name = name
        self.cores = 3

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        for request in batch:
            if request.spec.name == "lose":
                self.sink.lost(ValueError("the runtime is gone"))
                return
            self.cores += 1
            self.sink.done(request.task_id, request.attempt, request.args[0])

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Do nothing."""

    def check(self, spec: TaskSpec) -> None:
        if spec.description.get("colour") == "red":
            raise ConfigurationError("no red tasks here")

    def capacity(self) -> int:
        return self.cores


class OutsideFussy(OutOfProcessBackend):
    guest = "outside_guests:Fussy"
    capabilities = Fussy.capabilities

    def check(self, spec: TaskSpec) -> None:
        """Leave the check to the guest."""
