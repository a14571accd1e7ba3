"""A worker process, as its parent sees it."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from radical.asyncflow.backend import ReportSink, TaskRequest
from radical.asyncflow.errors import WorkerLostError
from radical.asyncflow.worker import (
    Raised,
    child_environment,
    dump_arguments,
    dump_function,
    explain_death,
    guard,
    import_path,
    kill_tree,
    open_answer,
    signal_group,
    start_guarded,
)

LOOK_S = 0.05  # between two looks whether the process lives, while a child may hold its pipe


class Worker:
    """A worker that one thread calls; the process is started when it is needed.

    Any thread may call `kill`.
    """

    def __init__(self, sink: ReportSink) -> None:
        self._sink = sink
        self._lock = threading.Lock()  # guards what follows
        self._process: subprocess.Popen[bytes] | None = None
        self._is_killed = False
        self._pipe: Connection[Any, Any]
        self._environment: dict[str, str] = {}

    def reset(self) -> None:
        """Forget that it was killed: what comes now is another task."""
        with self._lock:
            self._is_killed = False

    def kill(self) -> None:
        """End the process, and the task with it; return at once."""
        with self._lock:
            self._is_killed = True
            if self._process is not None:
                signal_group(self._process.pid, signal.SIGKILL)

    def call(self, request: TaskRequest) -> Any:
        """Have the process call the function of *request*, and return the result.

        What the function printed and used goes to the sink.

        Raises:
            SerializationError: the function, its arguments or its result cannot travel.
            WorkerLostError: the process died.
            BaseException: what the function raised.
        """
        spec = request.spec
        task = spec.name, request.task_id, request.attempt
        function = dump_function(spec.function)
        arguments = dump_arguments(spec.function, request.args, request.kwargs)
        call = pickle.dumps((import_path(), task, function, arguments))
        if self._process is not None and _is_dead(self._process):
            self.end()
        process = self._process or self._start()
        try:
            self._pipe.send_bytes(call)
            while not self._pipe.poll(LOOK_S):
                # A child of the process may hold its end of the pipe, so look at both.
                if _is_dead(process) and not self._pipe.poll():
                    raise EOFError
            answer, trace = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            code = self.end()
            death = explain_death(process.pid, code)
            raise WorkerLostError(
                spec.name,
                signal=-code if code < 0 else None,
                attempt=request.attempt,
                detail=death.evidence,
                reason=death.reason,
            ) from None
        if trace is not None:
            self._sink.traced(request.task_id, request.attempt, trace)
        value = open_answer(*answer)
        if isinstance(value, Raised):
            raise value.error
        return value

    def end(self) -> int:
        """End the process with all that it started; return its exit code, or 0 without one."""
        process = self._process
        if process is None:
            return 0
        kill_tree(process.pid, self._environment)
        with self._lock:
            self._process = None
        guard().forget(process.pid)
        self._pipe.close()
        return process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        self._environment = child_environment()
        wanted = {"output": self._sink.keeps_output, "usage": self._sink.keeps_usage}
        keeps = [what for what, is_wanted in wanted.items() if is_wanted]
        self._pipe, theirs = Pipe()
        with theirs:
            process = start_guarded(
                # -u, because SIGKILL ends it, and takes with it what it has not written.
                [sys.executable, "-u", "-m", f"{__package__}.child", str(theirs.fileno()), *keeps],
                env={**os.environ, **self._environment},
                pass_fds=[theirs.fileno()],
            )
        with self._lock:
            self._process = process
            if self._is_killed:
                signal_group(process.pid, signal.SIGKILL)
        return process


def _is_dead(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the process has ended, and leave its exit code for `wait`."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
