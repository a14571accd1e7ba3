"""The process that holds RADICAL-Pilot, as the program sees it."""

from __future__ import annotations

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
from typing import Any

from radical.asyncflow.worker import guard

from .processes import helpers, marked

__all__ = ["Host"]

_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from asyncflow_backend_radical._host.main import main
main(int(sys.argv[2]), sys.argv[3])
"""
_SWEEPS = 3  # looks that find nobody, before we believe it
_PAUSE = 0.02
_TIDY = 0.3  # seconds that a pilot has to tidy up

Message = tuple[Any, ...]


class Host:
    """A started process; messages go in by `send` and come out in a thread of its own.

    Attributes:
        log: what the process, and RADICAL-Pilot in it, printed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        configs: Path | None,
        outlives: bool,
        receive: Callable[[list[Message]], None],
        gone: Callable[[int], None],
    ) -> None:
        """Start the process.

        Args:
            folder: where RADICAL-Pilot writes its session.
            configs: what it takes for the user's configurations; None for the user's own.
            outlives: it ends by itself after the program's death, because it has a job in
                a queue to cancel; otherwise it is killed with the program.
            receive: called with what came, in the reading thread.
            gone: called with the exit code, last of all, in the reading thread.
        """
        self._receive = receive
        self._gone = gone
        self._token = secrets.token_hex(16)
        self._outlives = outlives
        self._configs = configs
        self._killing = threading.Lock()
        self._killed = False
        self.log = folder / "host.log"
        self._link, theirs = Pipe()
        try:
            with theirs, self.log.open("ab") as log:
                self._process = self._spawn(folder, theirs, log)
        except BaseException:
            self._link.close()
            raise
        self._out: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="asyncflow-radical", daemon=True)
        self._writer = threading.Thread(target=self._write, name="asyncflow-radical", daemon=True)
        self._reader.start()
        self._writer.start()

    def _spawn(self, folder: Path, theirs: Connection, log: Any) -> subprocess.Popen[bytes]:
        import json

        guard().start()
        path = [entry for entry in sys.path if isinstance(entry, str)]
        env = host_environment(self._token) | {"PWD": str(folder)}
        if self._configs is not None:
            env["RADICAL_CONFIG_USER_DIR"] = str(self._configs)
        process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(path), str(theirs.fileno()), self._token],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=env,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        if not self._outlives:
            try:
                guard().watch(process.pid)
            except BaseException:
                process.kill()
                process.wait()
                raise
        return process

    def send(self, *message: Any) -> None:
        """Hand over a message; returns at once, from any thread."""
        self._out.put(message)

    def close(self, cancel: bool, patience: float) -> bool:
        """End the process and all that it started; False if it still does so by itself.

        That is so after *patience* seconds for one that has a job in a queue to cancel; any
        other is killed then.
        """
        self.send("close", cancel)
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            if self._outlives:
                return False
        self.kill()
        return True

    def kill(self, *, gently: bool = False) -> None:
        """End the process and all that it started, now; *gently*: a pilot may tidy up."""
        with self._killing:
            if self._killed:
                return
            self._killed = True
        if gently:
            _ask(self._token, self._process.pid)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if not self._outlives:
            guard().forget(self._process.pid)
        _sweep(self._token, self.log.parent)
        self._out.put(None)
        current = threading.current_thread()
        for thread in (self._reader, self._writer):
            if thread is not current:
                thread.join(5.0)
        self._link.close()

    def _write(self) -> None:
        while (message := self._out.get()) is not None:
            try:
                self._link.send(message)
            except OSError:
                return  # the reading thread tells

    def _read(self) -> None:
        pidfd = os.pidfd_open(self._process.pid)
        try:
            while True:
                # A helper that RADICAL-Pilot forked may hold the other end open.
                ready = wait([self._link, pidfd])
                if self._link in ready:
                    try:
                        self._receive(self._link.recv())
                    except (EOFError, OSError):
                        break
                elif pidfd in ready:
                    break
        finally:
            os.close(pidfd)
        self._gone(self._process.wait())


def host_environment(token: str) -> dict[str, str]:
    """This process's environment, as if the interpreter's virtual environment were active."""
    env = {**os.environ, "ASYNCFLOW_PROGRAM": token}
    env.setdefault("RADICAL_PROFILE", "FALSE")  # ten processes less for each task
    scripts = str(Path(sys.executable).parent)
    env["PATH"] = os.pathsep.join([scripts, env.get("PATH", os.defpath)])
    env.pop("PYTHONHOME", None)
    if sys.prefix != sys.base_prefix:
        env["VIRTUAL_ENV"] = sys.prefix
    elif env.get("CONDA_PREFIX") != sys.prefix:
        env.pop("VIRTUAL_ENV", None)
    return env


def _ask(token: str, host: int) -> None:
    """SIGTERM to what carries *token*, but the host itself.

    A pilot that is only just starting runs the user's login scripts: some lock a file,
    which a SIGKILL would leave for the next login shell to wait for.
    """
    for pid in marked(token):
        if pid != host:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)
    time.sleep(_TIDY)


def _sweep(token: str, folder: Path) -> None:
    """Kill what carries *token* in its environment, or helps in *folder*, until nobody does."""
    clean = 0
    deadline = time.monotonic() + 5.0
    while clean < _SWEEPS and time.monotonic() < deadline:
        found = [*marked(token), *helpers(folder)]
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        clean = 0 if found else clean + 1
        time.sleep(_PAUSE)
