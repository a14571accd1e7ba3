"""A process that the program supervises: its start in any interpreter, its messages, its end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._public import public
from ..version import __version__
from ._frames import FrameParser, frame
from ._guard import guard, start_guarded
from ._guardian import PROGRAM_VARIABLE
from ._importing import import_path
from ._pickling import Buffer
from ._processes import STUBBORN_S, end_all, marked_processes, signal_group

__all__ = ["Greeting", "SupervisedProcess", "sent_path"]

# The other interpreter may be of any version, and may lack this package: so this is plain, and
# the first line that it writes is JSON.
_BEGINNING = """
import importlib, json, os, sys, traceback
descriptor, order = int(sys.argv[1]), json.loads(sys.argv[2])
if order["same"]:
    sys.path[:] = order["path"]
else:
    sys.path += [entry for entry in order["path"] if entry not in sys.path]
hello = {
    "python": list(sys.version_info[:3]),
    "implementation": sys.implementation.name,
    "core": "",
    "error": "",
}
run = None
try:
    hello["core"] = importlib.import_module("radical.asyncflow.version").__version__
    if hello["core"] == order["core"]:
        run = getattr(importlib.import_module(order["module"]), order["function"])
except BaseException as error:
    if hello["core"] == order["core"]:
        traceback.print_exc()
    hello["error"] = "%s: %s" % (type(error).__name__, error)
os.write(descriptor, (json.dumps(hello) + "\\n").encode())
if run is not None:
    run(descriptor, order["token"], *order["arguments"])
"""
_RECEIVE_BYTES = 1 << 20
_LOOK_S = 0.5  # between two looks for the end of the process, where no descriptor tells of it
_THREADS_END_S = 5.0
_TAIL_BYTES = 4096
_TAIL_LINES = 12


@public("radical.asyncflow.worker")
class Greeting(NamedTuple):
    """The first message of a process: which interpreter and which core it has.

    Attributes:
        python: the version, such as ``(3, 11, 4)``.
        implementation: ``"cpython"`` or another.
        core: the version of radical.asyncflow there; "" if it has none.
        error: why the code of the process could not be imported; "" if it was.
    """

    python: tuple[int, ...]
    implementation: str
    core: str
    error: str = ""

    def problem(self, python: str, *, same_python: bool) -> str:
        """Return what keeps the process from working with this program; "" if nothing does.

        Args:
            python: the interpreter of the process, for the text.
            same_python: its Python has to be of this program's minor version, as functions
                that are sent by value need it.
        """
        ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
        theirs = ".".join(map(str, self.python[:2]))
        name = sys.implementation.name
        if same_python and (theirs, self.implementation) != (ours, name):
            return (
                f"{python} is {self.implementation} {theirs}, but this program runs in {name} "
                f"{ours}: functions cannot travel between the two; use an interpreter of "
                f"Python {ours} for both"
            )
        if self.core and self.core != __version__:
            return (
                f"{python} has radical.asyncflow {self.core}, but this program has {__version__}: "
                f"install radical.asyncflow=={__version__} there"
            )
        if not self.core:
            return (
                f"{python} has no radical.asyncflow ({self.error}): install "
                f"radical.asyncflow=={__version__} there"
            )
        return f"{python} cannot import what it has to run: {self.error}" if self.error else ""


@public("radical.asyncflow.worker")
class SupervisedProcess:
    """A process of its own that exchanges messages with the program; for any thread.

    It leads a session, where the kernel's signals to the program do not reach it, and writes
    into a file what it prints.  It ends with the program.  What it starts inherits a token in the
    environment, by which `kill` finds it.  In the process, `ProgramLink` is the other end.

    Attributes:
        pid: its id.
        log: the file with what it printed.
        token: the value that marks what it starts.
        greeting: what it is, as soon as it has said so.
    """

    def __init__(
        self,
        entry: str,
        arguments: Sequence[Any] = (),
        *,
        log: Path,
        token: str,
        on_messages: Callable[[list[list[bytearray]]], None],
        on_end: Callable[[int | None], None],
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        watched: bool = True,
        inherited: Sequence[int] = (),
    ) -> None:
        """Start it.

        Args:
            entry: ``"module:function"``, called there with the descriptor of the connection, the
                token and *arguments*, which are values that JSON knows.
            token: a text that nobody else has.
            on_messages: called with the messages that have come, each as its parts, in a thread
                of this object.  So is *on_end*, once and last of all, with the exit code, or
                None if that is lost.
            python: the interpreter; None for that of this program.
            environment: all variables of the process but the token; None for this program's.
            watched: False for a process that outlives the program, and ends by itself.
            inherited: descriptors that it gets beside the connection.

        Raises:
            OSError: there is no such interpreter, or no room for a process.
        """
        self.log = log
        self.token = token
        self.greeting: Greeting | None = None
        self._on_messages = on_messages
        self._on_end = on_end
        self._is_watched = watched
        self._greeted = threading.Event()
        self._ended = threading.Event()
        self._kill_lock = threading.Lock()
        self._is_killed = False
        self._send_lock = threading.Lock()
        self._backlog: deque[Buffer] = deque()
        self._writer: threading.Thread | None = None
        executable = python or sys.executable
        module, _, function = entry.partition(":")
        order = json.dumps(
            {
                "path": sent_path(same=python is None),
                "same": python is None,
                "core": __version__,
                "module": module,
                "function": function,
                "token": token,
                "arguments": list(arguments),
            }
        )
        self._socket, other_end = socket.socketpair()
        try:
            with other_end, log.open("ab") as output:
                descriptor = other_end.fileno()
                options: dict[str, Any] = {} if cwd is None else {"cwd": cwd}
                self._process = start_guarded(
                    [executable, "-c", _BEGINNING, str(descriptor), order],
                    watched=watched,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={
                        **(os.environ if environment is None else environment),
                        PROGRAM_VARIABLE: token,
                    },
                    pass_fds=(descriptor, *inherited),
                    **options,
                )
        except BaseException:
            self._socket.close()
            raise
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name="asyncflow-outside", daemon=True)
        self._reader.start()

    def wait_for_greeting(self, limit_s: float) -> Greeting | None:
        """Return its first message; None if it ends before that, or *limit_s* is over."""
        self._greeted.wait(limit_s)
        return self.greeting

    @property
    def has_ended(self) -> bool:
        """True if nothing more will come from it."""
        return self._ended.is_set()

    def wait(self, limit_s: float | None) -> bool:
        """Wait until it has ended; return False if *limit_s* is over before."""
        return self._ended.wait(limit_s)

    def send(self, *messages: Sequence[Buffer]) -> None:
        """Send messages, each of any parts, without waiting for them to arrive.

        What is sent to a process that has ended is dropped: *on_end* tells of that.
        """
        pieces = [piece for parts in messages for piece in frame(parts)]
        with self._send_lock:
            if self._ended.is_set():
                return
            if not self._backlog:
                # Mostly there is room in the connection: no other thread is needed.
                pieces = _send_now(self._socket, pieces)
            if pieces:
                self._backlog += pieces
                if self._writer is None:
                    self._writer = threading.Thread(
                        target=self._write, name="asyncflow-outside", daemon=True
                    )
                    self._writer.start()

    def kill(self) -> None:
        """Kill it and all that carries its token, and wait for its threads; for up to 10 s."""
        with self._kill_lock:
            if not self._is_killed:
                self._is_killed = True
                signal_group(self.pid, signal.SIGKILL)
                if self._is_watched:
                    guard().forget(self.pid)
                self._process.wait()
                end_all(lambda: marked_processes(self.token), seconds=STUBBORN_S)
        if threading.current_thread() is not self._reader:
            self._reader.join(_THREADS_END_S)

    def signal_others(self, number: int) -> None:
        """Send a signal to what the process has started, as far as that carries the token."""
        for pid in marked_processes(self.token):
            if pid != self.pid:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    def last_words(self) -> str:
        """Return the last lines that it printed; "" if there are none."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = stream.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join([line for line in text.splitlines() if line.strip()][-_TAIL_LINES:])

    # Below this line: what happens in the threads.

    def _read(self) -> None:
        try:
            for data in self._pieces():
                take = self._parser.feed if self._greeted.is_set() else self._greet
                if messages := take(data):
                    self._on_messages(messages)
        finally:
            code = self._exit_code()
            self.kill()  # nothing that it started goes on when somebody hears of its end
            with self._send_lock:
                self._ended.set()
                self._backlog.clear()
                writer = self._writer
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the writer
            if writer is not None:
                writer.join()
            self._socket.close()
            self._greeted.set()
            self._on_end(code)

    def _greet(self, data: bytes) -> list[list[bytearray]]:
        """Take the line that comes first; return the messages behind it."""
        self._line += data
        line, end, rest = self._line.partition(b"\n")
        if not end:
            return []
        told = json.loads(line)
        self.greeting = Greeting(
            tuple(told["python"]), told["implementation"], told["core"], told["error"]
        )
        self._greeted.set()
        return self._parser.feed(bytes(rest))

    def _pieces(self) -> Any:
        """Yield what comes, until the other end is closed or the process has ended."""
        self._parser = FrameParser()
        self._line = bytearray()
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        pidfd = -1
        with contextlib.suppress(AttributeError, OSError):
            pidfd = os.pidfd_open(self.pid)
            poll.register(pidfd, select.POLLIN)
        mine = self._socket.fileno()
        try:
            while True:
                ready = [descriptor for descriptor, _ in poll.poll(1000 * _LOOK_S)]
                # What it has sent is read first, up to the end.  Whatever it forked may hold
                # the other end open, so its own end is looked for as well.
                if mine in ready:
                    try:
                        data = self._socket.recv(_RECEIVE_BYTES)
                    except OSError:
                        return
                    if not data:
                        return
                    yield data
                elif pidfd in ready or (pidfd < 0 and self._is_over()):
                    return
        finally:
            if pidfd >= 0:
                os.close(pidfd)

    def _is_over(self) -> bool:
        try:
            flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
            return os.waitid(os.P_PID, self.pid, flags) is not None
        except ChildProcessError:
            return True

    def _exit_code(self) -> int | None:
        """Wait for the end; return the exit code, or None if something else collected it.

        The process stays a zombie until `kill`, so that its number is its own.
        """
        deadline = time.monotonic() + _LOOK_S
        while not self._is_over():
            if time.monotonic() > deadline:
                # It has closed its end, and so is of no use any more.
                signal_group(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        try:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return self._process.returncode
        assert found is not None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def _write(self) -> None:
        """Send what did not fit into the connection, until there is no more; then end."""
        while True:
            with self._send_lock:
                if not self._backlog:
                    self._writer = None
                    return
                piece = self._backlog[0]
            try:
                self._socket.sendall(piece)
            except OSError:
                with self._send_lock:
                    self._backlog.clear()
                    self._writer = None
                return
            with self._send_lock:
                if self._backlog:
                    self._backlog.popleft()


def _send_now(connection: socket.socket, pieces: list[Buffer]) -> list[Buffer]:
    """Send what there is room for; return the rest."""
    while pieces:
        try:
            sent = connection.send(pieces[0], socket.MSG_DONTWAIT)
        except BlockingIOError:
            return pieces
        except OSError:  # it has ended, and the reading thread tells of it
            return []
        first = memoryview(pieces[0])
        pieces = pieces[1:] if sent == first.nbytes else [first.cast("B")[sent:], *pieces[1:]]
    return []


def sent_path(*, same: bool) -> list[str]:
    """Return the import path for the process.

    Another interpreter has its own libraries, so it gets only what is the program's own.
    """
    path = import_path()
    if same:
        return path
    own = tuple({os.path.realpath(folder) + os.sep for folder in (sys.prefix, sys.base_prefix)})
    return [entry for entry in path if not f"{os.path.realpath(entry)}{os.sep}".startswith(own)]
