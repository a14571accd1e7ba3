"""Backends that each break one promise; run by test_kit.py, never collected by itself."""

from __future__ import annotations

import asyncio
import heapq
import os
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from contextvars import Context
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from radical.asyncflow import registry
from radical.asyncflow.backend import (
    Capabilities,
    RemoteValue,
    Report,
    ReportSink,
    TaskId,
    TaskRequest,
)
from radical.asyncflow.model import TaskKind, TaskState
from radical.asyncflow.testing import BackendConformance, ScriptedBackend

# Found beside this file, whatever the import mode is.
sys.path.insert(0, str(Path(__file__).parent))
from process_backend import ProcessBackend
from thread_backend import CAUGHT_BY, ThreadBackend

PATIENCE = 1.0
"""Seconds after which a fault that makes a backend hang is caught."""


class _Suite(BackendConformance):
    slots = None
    inline = True
    load = 200
    patience = PATIENCE
    unmet_needs = frozenset({"nothing"})
    backend: type[ScriptedBackend] = ScriptedBackend

    def make_backend(self) -> ScriptedBackend:
        return self.backend()


class _Filter:
    """A sink between the backend and the real one, which falsifies the reports."""

    def __init__(self, sink: ReportSink) -> None:
        self._sink = sink

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def done(self, task_id: TaskId, attempt: int, value: Any) -> None:
        self._sink.done(task_id, attempt, value)


class _Filtered(ScriptedBackend):
    sink_type: type[_Filter] = _Filter

    async def start(self, sink: ReportSink) -> None:
        await super().start(self.sink_type(sink))


class TestEndsTwice(_Suite):
    class Twice(_Filter):
        def done(self, task_id: TaskId, attempt: int, value: Any) -> None:
            self._sink.report([Report(task_id, attempt, TaskState.DONE, value)] * 2)

    backend = type("EndsTwice", (_Filtered,), {"sink_type": Twice})


class TestForgetsTheAttempt(_Suite):
    class First(_Filter):
        def done(self, task_id: TaskId, attempt: int, value: Any) -> None:  # noqa: ARG002
            self._sink.done(task_id, 1, value)

    backend = type("ForgetsTheAttempt", (_Filtered,), {"sink_type": First})


class TestLosesTheTraceback(_Suite):
    class Bald(_Filter):
        def failed(self, task_id: TaskId, attempt: int, error: BaseException) -> None:
            self._sink.failed(task_id, attempt, error.with_traceback(None))

    backend = type("LosesTheTraceback", (_Filtered,), {"sink_type": Bald})


class TestNeverRunning(_Suite):
    class Silent(_Filter):
        def running(self, *_: object) -> None:
            pass

    backend = type("NeverRunning", (_Filtered,), {"sink_type": Silent})


class TestDropsEveryTenth(_Suite):
    class Lossy(_Filter):
        def done(self, task_id: TaskId, attempt: int, value: Any) -> None:
            if task_id % 10:
                self._sink.done(task_id, attempt, value)

    backend = type("DropsEveryTenth", (_Filtered,), {"sink_type": Lossy})


class TestIgnoresCancel(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        def cancel(self, task_ids: Collection[TaskId]) -> None:
            pass


class TestAnswersInSubmit(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        def submit(self, batch: Sequence[TaskRequest]) -> None:
            for request in batch:
                self.sink.running(request.task_id, request.attempt)
                self.sink.done(request.task_id, request.attempt, "task")


class TestBlocksInEachSubmit(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        def submit(self, batch: Sequence[TaskRequest]) -> None:
            super().submit(batch)
            time.sleep(0.05)


class TestMissesEarlyCancels(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        fresh = 0

        def submit(self, batch: Sequence[TaskRequest]) -> None:
            self.fresh = 20  # turns of the loop
            self.age()
            super().submit(batch)

        def age(self) -> None:
            self.fresh -= 1
            if self.fresh > 0:
                asyncio.get_running_loop().call_soon(self.age)

        def cancel(self, task_ids: Collection[TaskId]) -> None:
            if self.fresh <= 0:
                super().cancel(task_ids)


class TestBlocksInShutdown(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        async def shutdown(self, *, cancel: bool = True) -> None:
            time.sleep(1.5)  # noqa: ASYNC251
            await super().shutdown(cancel=cancel)


class TestNeverShutsDown(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        async def shutdown(self, *, cancel: bool = True) -> None:
            await super().shutdown(cancel=cancel)
            if self._loop is not None:
                await asyncio.sleep(3)


class TestDoesNotWaitForWork(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        async def shutdown(self, *, cancel: bool = True) -> None:
            if cancel:
                await super().shutdown(cancel=cancel)


class TestLeavesAThread(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        async def start(self, sink: ReportSink) -> None:
            await super().start(sink)
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


class TestLeavesAFile(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        async def start(self, sink: ReportSink) -> None:
            await super().start(sink)
            Path("backend.log").touch()  # noqa: ASYNC240


class TestTakesWorkAfterTheEnd(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        def submit(self, batch: Sequence[TaskRequest]) -> None:
            if not self.is_shut_down:
                super().submit(batch)


class TestStartsTwice(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        async def start(self, sink: ReportSink) -> None:
            if self._loop is None:
                await super().start(sink)


class TestRunsInNoContext(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        def submit(self, batch: Sequence[TaskRequest]) -> None:
            super().submit([request._replace(context=None) for request in batch])


class _Kept:
    """A context that gives itself away where a copy is asked for."""

    def __init__(self, context: Context | None) -> None:
        self._context = context

    def copy(self) -> Context | None:
        return self._context


class TestRunsAllInOneContext(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        kept: Any = None

        def submit(self, batch: Sequence[TaskRequest]) -> None:
            self.kept = self.kept or _Kept(batch[0].context)
            super().submit([request._replace(context=self.kept) for request in batch])


class TestBeginsTasksAsTheyCome(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        def __init__(self) -> None:
            super().__init__(priorities=True)
            self._line = None


class TestBeginsTheLastFirst(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        def __init__(self) -> None:
            super().__init__(priorities=True)

        def submit(self, batch: Sequence[TaskRequest]) -> None:
            super().submit(batch)
            assert self._line is not None
            self._line[:] = [(*order, -abs(number), one) for *order, number, one in self._line]
            heapq.heapify(self._line)


class TestForgetsDepths(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        def __init__(self) -> None:
            super().__init__(priorities=True)

        def submit(self, batch: Sequence[TaskRequest]) -> None:
            super().submit([request._replace(depth=0) for request in batch])


class _Graph(ScriptedBackend):
    def __init__(self) -> None:
        super().__init__(native_dependencies=True, remote_results=True)


class TestRunsBehindFailures(_Suite):
    class backend(_Graph):  # noqa: N801
        def _ended(self, request: TaskRequest, error: BaseException | None) -> None:
            if error is not None:
                self._values[request.task_id] = None
            super()._ended(request, None)


class TestRunsChainsBehindFailures(_Suite):
    class backend(TestRunsBehindFailures.backend):  # noqa: N801
        def __init__(self) -> None:
            ScriptedBackend.__init__(self, chains=True)


class TestOrdersNothing(_Suite):
    class backend(_Graph):  # noqa: N801
        def submit(self, batch: Sequence[TaskRequest]) -> None:
            super().submit([request._replace(dependencies=()) for request in batch])


class _Once(RemoteValue):
    """A value that is gone when it was fetched, or cannot be released twice."""

    def __init__(self, value: RemoteValue, fault: str) -> None:
        self._value = value
        self._fault = fault
        self._is_used = False

    def _use(self, how: str) -> None:
        if how == self._fault and self._is_used:
            raise RuntimeError("it is gone")
        self._is_used = True

    async def fetch(self) -> Any:
        self._use("fetch")
        return await self._value.fetch()

    def release(self) -> None:
        self._use("release")
        self._value.release()


class _OnceFilter(_Filter):
    fault = "fetch"

    def done(self, task_id: TaskId, attempt: int, value: Any) -> None:
        self._sink.done(task_id, attempt, _Once(value, self.fault))


class TestFetchesOnce(_Suite):
    class backend(_Filtered, _Graph):  # noqa: N801
        sink_type = _OnceFilter


class TestReleasesOnce(_Suite):
    class backend(_Filtered, _Graph):  # noqa: N801
        sink_type = type("_ReleaseFilter", (_OnceFilter,), {"fault": "release"})


class TestFailsWithText(_Suite):
    class Text(_Filter):
        def failed(self, task_id: TaskId, attempt: int, error: BaseException) -> None:
            self._sink.failed(task_id, attempt, str(error))

    backend = type("FailsWithText", (_Filtered,), {"sink_type": Text})


class TestLeavesADescriptor(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        async def start(self, sink: ReportSink) -> None:
            await super().start(sink)
            os.open(os.devnull, os.O_RDONLY)


class TestLeavesAProcess(_Suite):
    class backend(ScriptedBackend):  # noqa: N801
        async def start(self, sink: ReportSink) -> None:
            await super().start(sink)
            # It ends with this process, whose end of the pipe is then closed.
            self.process = subprocess.Popen("/bin/cat", stdin=subprocess.PIPE)  # noqa: ASYNC220


class TestSkipsMoreThanItSays(_Suite):
    pass


class _Processes(BackendConformance):
    slots = 1
    load = 200
    patience = PATIENCE
    backend: type[ProcessBackend] = ProcessBackend

    def make_backend(self) -> ProcessBackend:
        return self.backend()


class TestProcessesAsTheyShouldBe(_Processes):
    patience = 60.0


def _with(fault: str) -> type[ProcessBackend]:
    return type(fault, (ProcessBackend,), {"faults": (fault,)})


class TestKillsTheWorkerAlone(_Processes):
    backend = _with("kills one")


class TestLeavesTheProcessesOfWhoObeys(_Processes):
    backend = _with("asks")


class TestTellsNoSignal(_Processes):
    backend = _with("tells no signal")


class TestListensToThePipeAlone(_Processes):
    backend = _with("listens to the pipe")


class TestAnswersForForks(_Processes):
    backend = _with("answers for forks")


class TestSearchesForWhatItCancels(_Processes):
    backend = _with("searches")


class TestKeepsItsPath(_Processes):
    backend = _with("keeps its path")


class TestTrustsTheIdle(_Processes):
    backend = _with("trusts the idle")


class _Settings(BaseModel):
    workers: int = 1


registry.register_backend(
    "boastful", ProcessBackend, capabilities=Capabilities(kinds={*TaskKind} - {TaskKind.BLOCK})
)
registry.register_backend("unset", ProcessBackend, config_model=_Settings)


class TestHasAPluginThatBoasts(_Processes):
    backend_name = "boastful"


class TestHasSettingsThatItDoesNotTake(_Processes):
    backend_name = "unset"


class _Threads(BackendConformance):
    slots = 2
    load = 200
    patience = PATIENCE
    backend: type[ThreadBackend] = ThreadBackend

    def make_backend(self) -> ThreadBackend:
        return self.backend()


class TestThreadsAsTheyShouldBe(_Threads):
    patience = 60.0


def _with_threads(fault: str) -> type[_Threads]:
    """Return the test class of threads with a fault; it is named after that."""
    backend = type(fault, (ThreadBackend,), {"faults": (fault,), "others": []})
    name = "Test" + "".join(fault.title().split())
    return type(name, (_Threads,), {"backend": backend})


globals().update((suite.__name__, suite) for suite in map(_with_threads, CAUGHT_BY))
