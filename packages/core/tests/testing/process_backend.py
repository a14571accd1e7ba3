"""A small backend of one worker process, correct but for the faults that a class names."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Sequence
from multiprocessing import Pipe
from typing import Any, ClassVar

from radical.asyncflow.backend import (
    Capabilities,
    ExecutionBackend,
    ReportSink,
    TaskId,
    TaskKind,
    TaskRequest,
)
from radical.asyncflow.errors import WorkerLostError
from radical.asyncflow.worker import (
    Raised,
    child_environment,
    dump_arguments,
    dump_function,
    guard,
    kill_tree,
    open_answer,
    start_guarded,
)

_WORKER = """
import os, pickle, signal, sys
from multiprocessing.connection import Connection
number, path, answers_for_forks = pickle.loads(bytes.fromhex(sys.argv[1]))
sys.path[:] = path
from radical.asyncflow.worker import TaskContext, answer_pickled

pipe, me, context = Connection(number), os.getpid(), TaskContext("none", 0)
os.set_inheritable(number, False)
signal.signal(signal.SIGUSR1, lambda *_: context.cancel())
while True:
    try:
        function, arguments = pickle.loads(pipe.recv_bytes())
    except EOFError:
        break
    with TaskContext("task", 1) as context:
        answer = answer_pickled(function, arguments)
    if os.getpid() != me and not answers_for_forks:
        os._exit(0)
    pipe.send_bytes(pickle.dumps(answer))
"""


class ProcessBackend(ExecutionBackend):
    """Runs one function at a time."""

    capabilities = Capabilities(
        kinds={TaskKind.FUNCTION}, kills_running={TaskKind.FUNCTION}, pickles=True
    )
    faults: ClassVar[Collection[str]] = ()

    def __init__(self, *, name: str = "process") -> None:
        self.name = name
        self._sink: ReportSink
        self._news = threading.Condition()
        self._waiting: dict[TaskId, TaskRequest] = {}
        self._running: TaskRequest | None = None
        self._cancelled = False
        self._worker: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        self._sink = sink  # the thread reports after the shutdown too
        guard().acquire()
        self._thread.start()

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        with self._news:
            self._waiting.update((request.task_id, request) for request in batch)
            self._news.notify()

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        with self._news:
            for task_id in task_ids:
                if "searches" in self.faults:
                    next((one for one in self._waiting if one == task_id), None)
                if (request := self._waiting.pop(task_id, None)) is not None:
                    self._sink.cancelled(task_id, request.attempt)
                elif self._running is not None and self._running.task_id == task_id:
                    self._cancelled = True

    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)
        with self._news:
            running = [] if self._running is None else [self._running.task_id]
            held = [*self._waiting, *running]
            self._news.notify()
        if cancel:
            self.cancel(held)
        while self._thread.is_alive():  # noqa: ASYNC110 - it is a thread
            await asyncio.sleep(0.005)

    # Below this line: what happens in the thread.

    def _work(self) -> None:
        while (request := self._take()) is not None:
            key = request.task_id, request.attempt
            try:
                report, *rest = self._outcome(request)
            except Exception as error:
                report, rest = "failed", [error]
            with self._news:
                self._running = None
            getattr(self._sink, report)(*key, *rest)
        self._end_worker()
        guard().release()

    def _take(self) -> TaskRequest | None:
        with self._news:
            while not self._waiting:
                if self.is_shut_down:
                    return None
                self._news.wait()
            self._running = self._waiting.pop(next(iter(self._waiting)))
            self._cancelled = False
            return self._running

    def _outcome(self, request: TaskRequest) -> tuple[Any, ...]:
        if self._worker is None or (self._is_dead() and "trusts the idle" not in self.faults):
            self._end_worker()
            self._start_worker()
        assert self._worker is not None
        function = request.spec.function
        arguments = dump_arguments(function, request.args, request.kwargs)
        try:
            self._pipe.send_bytes(pickle.dumps((dump_function(function), arguments)))
        except OSError as error:
            self._end_worker()
            raise WorkerLostError(request.spec.name) from error
        self._sink.running(request.task_id, request.attempt)
        asked = 0
        while not self._pipe.poll(0.01):
            if self._cancelled and "asks" in self.faults and asked < 50:
                asked += 1
                os.kill(self._worker.pid, signal.SIGUSR1)
            elif self._cancelled:
                self._end_worker()
                return ("cancelled",)
            if "listens to the pipe" not in self.faults and self._is_dead():
                break
        try:
            # Whoever is dead may have answered before; a child of it may hold the pipe.
            if not self._pipe.poll():
                raise EOFError
            value = open_answer(*pickle.loads(self._pipe.recv_bytes()))
        except (EOFError, OSError):
            code = self._end_worker()
            number = -code if code < 0 and "tells no signal" not in self.faults else None
            raise WorkerLostError(request.spec.name, signal=number) from None
        if asked:
            return ("cancelled",)
        return ("failed", value.error) if isinstance(value, Raised) else ("done", value)

    def _start_worker(self) -> None:
        self._pipe, theirs = Pipe()
        path = sys.path
        if "keeps its path" in self.faults:
            path = [entry for entry in path if "pytest-of" not in entry]
        start = pickle.dumps((theirs.fileno(), path, "answers for forks" in self.faults)).hex()
        self._environment = child_environment()
        with theirs:
            self._worker = start_guarded(
                [sys.executable, "-c", _WORKER, start],
                env={**os.environ, **self._environment},
                pass_fds=[theirs.fileno()],
            )

    def _is_dead(self) -> bool:
        assert self._worker is not None
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._worker.pid, how) is not None

    def _end_worker(self) -> int:
        if self._worker is None:
            return 0
        worker, self._worker = self._worker, None
        if "kills one" in self.faults:
            worker.kill()
        else:
            kill_tree(worker.pid, self._environment)
        guard().forget(worker.pid)
        self._pipe.close()
        return worker.wait()
