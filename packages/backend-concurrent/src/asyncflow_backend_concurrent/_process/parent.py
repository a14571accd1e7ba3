"""The parent's end of one worker process: start it, send tasks, collect results, end it.

The child leads a session and process group of its own.  So a Ctrl-C in the terminal does
not reach it, and everything that its tasks start can be ended with it.  A method is for
the one thread that owns the worker, except where its docstring says otherwise.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Collection, Sequence
from typing import IO

from radical.asyncflow.errors import DeathReason
from radical.asyncflow.worker import (
    Gpu,
    child_environment,
    explain_death,
    found_gpus,
    guard,
    import_path,
    kill_tree,
    peak_of,
    program_arguments,
    reloads,
    signal_group,
    start_guarded,
)

from .arena import make_arena
from .child import BELL, READY, RUN, SKIP
from .traces import KEEPS_NOTHING, Keeps
from .wire import Inlet, Message, Outlet, Part

__all__ = ["WorkerGoneError", "WorkerProcess"]

_START = """
import json, sys
with open(int(sys.argv[1]), encoding="utf-8") as file:
    sys.path[:], sys.argv[:], program, keeps, gpus, descriptors = json.load(file)
from asyncflow_backend_concurrent._process.child import main
main(program, keeps, gpus, *descriptors)
"""
_NUDGE = (1).to_bytes(8, sys.byteorder)  # what an eventfd takes
_LEAVE_S = 2.0  # for a worker that is told to end, before it is killed
_DYING_S = 0.5  # between the closing of its files and its death


class WorkerGoneError(Exception):
    """The process ended.

    Attributes:
        signal: the signal that ended it, or None.
        detail: in words, how it ended if not by a signal, and what shows why.
        reason: the kind of its end.
        no_room: the system had no room for it, though there may be other processes.
    """

    no_room = False

    def __init__(
        self, code: int | None, detail: str = "", reason: DeathReason = DeathReason.UNKNOWN
    ) -> None:
        self.signal = -code if code is not None and code < 0 else None
        self.reason = reason
        if code is None:
            detail = (
                "how it ended is not known: this program ignores SIGCHLD or waits for any child"
            )
        self.detail = detail or ("" if self.signal else f"it exited with code {code}")
        super().__init__(self.detail or f"signal {self.signal}")


class WorkerProcess:
    """A started worker.

    Its tasks are numbered from 0, in the order in which they are offered; such a number is
    the *place* of a task.

    Attributes:
        gpus: those that it and its tasks see, all its life.
        known: numbers of the functions that it was sent.
        offered: how many tasks it was offered.
        clock: what each `BELL` said, in order.
        condemned: `kill` was called.
        reloads: what `reloads()` was before it started.
    """

    def __init__(
        self, name: str, grace: float, gpus: tuple[Gpu, ...] = (), keeps: Keeps = KEEPS_NOTHING
    ) -> None:
        self.name = name
        self.gpus = gpus
        self._keeps = keeps
        self.known: set[int] = set()
        self.offered = 0
        self.clock: list[tuple[float, int]] = []
        self.reloads = reloads()
        self._path = import_path()
        self.condemned = False
        self._grace = grace
        self._environment = child_environment()
        self._visible = {found_gpus().variable: ",".join(map(str, gpus))} if gpus else {}
        self._token_lock = threading.Lock()
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as theirs:
            # Tasks go one way, and the other way the bell that tells of results.
            self._data, data = socket.socketpair()
            undo.callback(self._data.close)
            theirs.callback(data.close)
            self._data.setblocking(False)
            self._results, results = _pipe(undo, theirs)
            # The parent keeps both ends of this one, to read its own tokens back.
            self._their_tokens, self._tokens = _pipe(undo, undo)
            self._nudged, self._nudges = _bell(undo)
            self._arena = make_arena()
            descriptors = [data.fileno(), results, self._their_tokens]
            if self._arena is not None:
                undo.callback(self._arena.retire)
                descriptors.append(self._arena.fileno())
            self._process = self._spawn(descriptors)
            self._pidfd = _pidfd(self._process.pid)
            undo.pop_all()
        self._pipes = self._results, self._tokens, self._their_tokens, self._nudged, self._nudges
        self.pid = self._process.pid
        self._code: int | None = None
        self._peak = 0
        self._outlet = Outlet(self._data.fileno(), None, self._arena)
        self._inlet = Inlet(self._results, self._wait, self._arena)
        self._poll = select.poll()
        self._poll.register(self._data, select.POLLIN)
        self._poll.register(self._nudged, select.POLLIN)
        if self._pidfd is not None:
            self._poll.register(self._pidfd, select.POLLIN)

    def _spawn(self, theirs: list[int]) -> subprocess.Popen[bytes]:
        if not sys.executable:
            raise RuntimeError("sys.executable is not set, so no worker process can be started")
        # In a file, because one argument of a program has at most 128 KiB.
        with _unnamed_file() as file:
            start = (self._path, program_arguments(), _program(), self._keeps, self.gpus, theirs)
            file.write(json.dumps(start).encode())
            file.seek(0)
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
            return start_guarded(
                [sys.executable, *flags, "-c", _START, str(file.fileno())],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self._environment, **self._visible},
                pass_fds=[*theirs, file.fileno()],
            )

    def _wait(self, event: int) -> None:
        """Wait, in the middle of a message, for more of the results."""
        poll = select.poll()
        poll.register(self._results, event)
        poll.register(self._data, select.POLLIN)
        if self._pidfd is not None:
            poll.register(self._pidfd, select.POLLIN)
        ready = dict(poll.poll())
        if ready.get(self._results, 0) & select.POLLIN:
            return
        if self._pidfd in ready:
            raise EOFError
        if self._data.fileno() in ready:
            self._read_bell()

    def _read_bell(self) -> None:
        """Add what the bell says to `clock`.

        Raises:
            EOFError: the worker is gone, or is being killed.
        """
        try:
            rung = self._data.recv(341 * BELL.size)
        except BlockingIOError:
            return
        except ConnectionResetError:  # it ended without reading what it was sent
            rung = b""
        if not rung or self.condemned:
            raise EOFError
        self.clock += BELL.iter_unpack(rung)

    def wait_ready(self) -> None:
        """Wait until the child has started.

        Raises:
            WorkerGoneError: it did not come up, or was killed meanwhile.
        """
        try:
            message = self._inlet.receive_one()
        except EOFError:
            raise self._gone() from None
        assert message.place == READY

    def offer(self, run: Sequence[bool]) -> None:
        """Write the tokens of a chunk, before `send`; False stands for a task not to run."""
        tokens = RUN * len(run) if all(run) else b"".join([RUN if it else SKIP for it in run])
        with self._token_lock:
            self.offered += len(run)
            os.write(self._tokens, tokens)

    def send(self, body: bytes, parts: Sequence[Part]) -> None:
        """Send the chunk, or as much of it as there is room for: `collect` sends the rest.

        If the child is gone, `collect` raises.
        """
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._outlet.send(0, 0, body, parts)

    @property
    def unsent(self) -> bool:
        """True if a part of a chunk is not sent yet."""
        return bool(self._outlet.rest)

    def changed_path(self) -> list[str] | None:
        """Return ``sys.path`` if it has changed since it was last sent, else None."""
        path = import_path()
        if path == self._path:
            return None
        self._path = path
        return path

    def collect(self, timeout: float | None) -> list[Message] | None:
        """Wait for the bell, and return the results that came; None after *timeout* seconds.

        After `nudge` it returns also if nothing came.

        Raises:
            WorkerGoneError: the process is gone, and nothing is left of it; every result
                that it had sent was returned before.
        """
        messages: list[Message] = []
        gone = False
        if self._outlet.rest:
            self._poll.modify(self._data, select.POLLIN | select.POLLOUT)
        news = self._poll.poll(None if timeout is None else timeout * 1000)
        for descriptor, events in news:
            if descriptor == self._pidfd:
                gone = True
            elif descriptor == self._nudged:
                os.read(self._nudged, 4096)
            elif events == select.POLLOUT:
                self._send_rest()
            else:
                try:
                    self._read_bell()
                except EOFError:
                    gone = True
        if self.condemned:
            self._end()
            gone = True
        try:
            messages = self._inlet.receive()
        except EOFError:
            gone = True
        if gone and not messages:
            raise self._gone()
        return messages if messages or news else None

    def _send_rest(self) -> None:
        try:
            self._outlet.flush()
        except (BrokenPipeError, ConnectionResetError):
            self._outlet.rest.clear()
        if not self._outlet.rest:
            self._poll.modify(self._data, select.POLLIN)

    def unbegun(self) -> int:
        """Return how many of the tasks it has not begun, with those taken back; for any thread."""
        with self._token_lock:
            if self._process.returncode is not None:
                return 0
            size = array.array("i", [0])
            fcntl.ioctl(self._their_tokens, termios.FIONREAD, size)
            return size[0]

    def nudge(self) -> None:
        """Have `collect` return; for any thread."""
        with self._token_lock, contextlib.suppress(BlockingIOError):
            if self._process.returncode is None:
                os.write(self._nudges, _NUDGE)

    def take_back(self, wanted: Collection[int] | None = None, *, strict: bool = True) -> list[int]:
        """Take back tasks that have not begun, which then never will; return their places.

        It takes back the *wanted* ones; or all, if none are named or, being *strict*, if one
        of them has begun.  Any thread may call it.  Once the process is gone, it tells which
        tasks had not begun.
        """
        with self._token_lock:
            tokens = b""
            with contextlib.suppress(BlockingIOError):
                while True:
                    tokens += os.read(self._their_tokens, 65536)
            first = self.offered - len(tokens)
            back = [first + at for at, token in enumerate(tokens) if token == RUN[0]]
            if wanted is not None and not (strict and set(wanted) - set(back)):
                back = [place for place in back if place in wanted]
            if tokens:
                # The child counts the tokens of a chunk, so each is replaced.
                gone = set(back)
                os.write(
                    self._tokens,
                    bytes(
                        SKIP[0] if first + at in gone else token for at, token in enumerate(tokens)
                    ),
                )
            return back

    def kill(self) -> None:
        """Send SIGTERM to the group; the owner's `collect` does the rest.  For any thread."""
        with self._token_lock:
            if self.condemned or self._process.returncode is not None:
                return
            self.condemned = True
            signal_group(self.pid, signal.SIGTERM)
            with contextlib.suppress(OSError):  # it has just closed its end
                self._data.shutdown(socket.SHUT_RD)  # wakes the owner, if it waits there

    def close(self) -> None:
        """End the process, which leaves when its socket closes, or is killed after 2 s."""
        if self._process.returncode is None:
            with contextlib.suppress(OSError):
                self._data.shutdown(socket.SHUT_WR)
            if not self._gone_within(_LEAVE_S):
                signal_group(self.pid, signal.SIGTERM)
            # There is no more to do here, so daemons of tasks may stay until the guard ends.
            self._end(whole=self.condemned)
        self._data.close()
        for descriptor in {*self._pipes, self._pidfd}:
            if descriptor is not None:
                os.close(descriptor)
        if self._arena is not None:
            self._arena.retire()

    def _gone(self) -> WorkerGoneError:
        """End what is left of the worker, and return how it ended."""
        # A process that is ending closes its files a moment before it is dead.
        alone = self._process.returncode is not None or self._gone_within(_DYING_S)
        code = self._end()
        if not alone:
            detail = "it closed its connection to the program, which then killed it"
            return WorkerGoneError(code, detail, DeathReason.EXIT)
        death = explain_death(self.pid, code, peak=self._peak)
        return WorkerGoneError(code, death.evidence, death.reason)

    def _end(self, *, whole: bool = True) -> int | None:
        """End all processes of the group, with *whole* also those that left it.

        Returns:
            The exit code of the worker; None if nobody can tell.
        """
        if self._process.returncode is None:
            if self.condemned:
                self._gone_within(self._grace)
            # Until the zombie is reaped its number cannot be that of another group.
            if whole:
                kill_tree(self.pid, self._environment)
            else:
                signal_group(self.pid, signal.SIGKILL)
            with self._token_lock:
                guard().forget(self.pid)
                self._collect()
        return self._code

    def _collect(self) -> None:
        """Wait for the end of the process.  `subprocess` takes a lost exit code for a zero."""
        try:
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError:
            self._code = None
        else:
            self._peak = peak_of(usage)
            self._code = os.waitstatus_to_exitcode(status)
        self._process.returncode = self._code or 0

    def _gone_within(self, seconds: float) -> bool:
        """Wait for the end of the process; return whether it came in time."""
        if self._pidfd is not None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        # It watches the socket, because waiting for the process would reap it.
        with contextlib.suppress(OSError):
            self._data.settimeout(seconds)
            while self._data.recv(1 << 16):
                pass
            return True
        return False


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """Make a pipe that blocks at neither end; each end is closed by a stack."""
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write


def _bell(stack: contextlib.ExitStack) -> tuple[int, int]:
    """Make something that is read at one end after `_NUDGE` was written to the other."""
    if not hasattr(os, "eventfd"):
        return _pipe(stack, stack)
    both = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    stack.callback(os.close, both)
    return both, both


def _unnamed_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("asyncflow-start"), "w+b")
    return tempfile.TemporaryFile()


def _program() -> tuple[str | None, str | None]:
    """Return the file of the program and, of ``python -m``, its name."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    spec = getattr(main, "__spec__", None)
    return file and os.path.abspath(file), getattr(spec, "name", None)  # noqa: PTH100 - a str


def _pidfd(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends (Linux), or None."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
