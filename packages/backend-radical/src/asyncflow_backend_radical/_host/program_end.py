"""The host process as the program sees it: its start, the messages to and from it, its end."""

from __future__ import annotations

import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import IO

from radical.asyncflow.worker import (
    end_all,
    guard,
    import_path,
    marked_processes,
    start_guarded,
)

from .environment import host_environment
from .messages import ClosePilot, Event, Order
from .processes import helpers
from .psij_plugin import write_plugin

__all__ = ["HostProcess"]

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from asyncflow_backend_radical._host.main import main
main(int(sys.argv[2]), sys.argv[3])
"""
_KILL_S = 5.0  # for what the process started to be gone
_THREADS_END_S = 5.0
_PILOT_TIDIES_UP_S = 0.3


class HostProcess:
    """A process that holds RADICAL-Pilot; every method may be called from any thread.

    Attributes:
        log: the file with what the process, and RADICAL-Pilot in it, printed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        configs: Path | None,
        has_job: bool,
        on_events: Callable[[list[Event]], None],
        on_exit: Callable[[int | None], None],
    ) -> None:
        """Start the process.

        Args:
            folder: where RADICAL-Pilot writes its session.
            configs: the folder of RADICAL-Pilot's user configurations; None for the user's own.
            has_job: the process will have a job in a queue.  It then outlives a program
                that dies, to cancel the job; otherwise it is killed with the program.
            on_events: called with each batch of events, in a thread of this object.
            on_exit: called with the exit code, or None if that is lost, last of all, in the
                same thread.
        """
        self._on_events = on_events
        self._on_exit = on_exit
        self._token = secrets.token_hex(16)
        self._has_job = has_job
        self._kill_lock = threading.Lock()
        self._is_killed = False
        self.log = folder / "host.log"
        self._connection, other_end = Pipe()
        try:
            with other_end, self.log.open("ab") as log:
                self._process = self._start(folder, configs, other_end, log)
        except BaseException:
            self._connection.close()
            raise
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=target, name="asyncflow-radical", daemon=True)
            for target in (self._receive_events, self._send_orders)
        ]
        for thread in self._threads:
            thread.start()

    def _start(
        self, folder: Path, configs: Path | None, other_end: Connection, log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        env = host_environment(self._token, folder)
        if configs is not None:
            env["RADICAL_CONFIG_USER_DIR"] = str(configs)
        if self._has_job:
            # Slurm would put a job whose node fails into the queue again, and tell of no end.
            env["SBATCH_NO_REQUEUE"] = "1"
            # The job does not inherit it.
            given = env.get("PYTHONPATH", "")
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(write_plugin(folder)), given]))
        descriptor = other_end.fileno()
        path = json.dumps(import_path())
        return start_guarded(
            [sys.executable, "-c", _PROGRAM, path, str(descriptor), self._token],
            watched=not self._has_job,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=env,
            pass_fds=(descriptor,),
        )

    def send(self, order: Order) -> None:
        """Send *order*, without waiting for it to arrive."""
        self._orders.put(order)

    def close(self, limit_s: float) -> bool:
        """Have the process end the pilot and itself; kill what is left after *limit_s* seconds.

        Returns:
            False if the process is left alone, because it still has a job to cancel.
        """
        self.send(ClosePilot())
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            if self._has_job:
                return False
        self.kill()
        return True

    def kill(self, *, gently: bool = False) -> None:
        """Kill the process and all that it started; *gently* lets a pilot tidy up first."""
        with self._kill_lock:
            if self._is_killed:
                return
            self._is_killed = True
        if gently:
            _terminate_children(self._token, self._process.pid)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if not self._has_job:
            guard().forget(self._process.pid)
        _kill_all(self._token, self.log.parent)
        self._orders.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_THREADS_END_S)
        self._connection.close()

    def _send_orders(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                self._connection.send(order)
            except OSError:
                return  # the process has ended, and the reading thread tells of it

    def _receive_events(self) -> None:
        try:
            pidfd = os.pidfd_open(self._process.pid)
        except ProcessLookupError:  # it has ended already, in a program that ignores SIGCHLD
            self._on_exit(self._wait())
            return
        try:
            while True:
                # A helper that RADICAL-Pilot forked may hold the other end open.
                ready = wait([self._connection, pidfd])
                if self._connection in ready:
                    try:
                        events = self._connection.recv()
                    except (EOFError, OSError):
                        break
                    self._on_events(events)
                elif pidfd in ready:
                    break
        finally:
            os.close(pidfd)
        self._on_exit(self._wait())

    def _wait(self) -> int | None:
        """Wait for the end; return the exit code, or None if something else collected it."""
        try:
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return self._process.returncode
        return self._process.wait()


def _terminate_children(token: str, host: int) -> None:
    """Send SIGTERM to what carries *token*, except to the host itself, and wait a moment.

    A pilot that is starting runs the user's login scripts.  Some of these lock a file: after
    a SIGKILL the next login shell would wait for that lock.
    """
    for pid in marked_processes(token):
        if pid != host:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)
    time.sleep(_PILOT_TIDIES_UP_S)


def _kill_all(token: str, folder: Path) -> None:
    """Kill what carries *token*, and the helpers in *folder*, until nothing is found."""
    end_all(lambda: [*marked_processes(token), *helpers(folder)], seconds=_KILL_S)
