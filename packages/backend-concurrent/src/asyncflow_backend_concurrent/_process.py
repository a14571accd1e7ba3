"""One worker process as its parent sees it: start, feed, listen, take back, end.

The child leads a session and process group of its own, so a Ctrl-C in the terminal
does not reach it, and everything that its tasks start can be ended with it.  Except
where said, a method is for the one thread that owns the worker.
"""

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
from collections.abc import Collection, Sequence

from radical.asyncflow.worker import child_environment, guard, kill_tree, signal_group

from ._wire import Channel, Message, Part
from ._worker_main import READY, SKIP

__all__ = ["CHUNK", "WorkerGoneError", "WorkerProcess"]

CHUNK = 128
"""The most tasks that a worker is handed at once; places must differ from the token SKIP."""

_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
data, tokens, bell = map(int, sys.argv[2:5])
sys.argv[:] = json.loads(sys.argv[5])
from asyncflow_backend_concurrent._worker_main import main
main(data, tokens, bell)
"""
_LEAVE = 2.0  # seconds for a worker that is told to end, before it is killed


class WorkerGoneError(Exception):
    """The process ended.

    Attributes:
        signal: the signal that ended it, or None.
        detail: in words, how it ended otherwise.
    """

    def __init__(self, code: int, detail: str = "") -> None:
        self.signal = -code if code < 0 else None
        self.detail = detail or ("" if code < 0 else f"it exited with code {code}")
        super().__init__(self.detail or f"signal {self.signal}")


class WorkerProcess:
    """A started worker.

    Attributes:
        gpus: those that its tasks saw first; a GPU library reads them only once.
        known: numbers of the functions that it was sent.
        condemned: `kill` was called.
    """

    def __init__(self, name: str, grace: float) -> None:
        self.name = name
        self.gpus: tuple[int, ...] = ()
        self.known: set[int] = set()
        self._path = [entry for entry in sys.path if isinstance(entry, str)]
        self.condemned = False
        self._grace = grace
        self._environment = child_environment()
        self._token_lock = threading.Lock()
        with contextlib.ExitStack() as undo:
            self._data, data = socket.socketpair()
            undo.callback(self._data.close)
            # The parent keeps both ends of this one, to read its own tokens back.
            self._tokens, self._their_tokens = socket.socketpair()
            undo.callback(self._tokens.close)
            undo.callback(self._their_tokens.close)
            self._bell, self._their_bell = os.pipe()
            undo.callback(os.close, self._bell)
            undo.callback(os.close, self._their_bell)
            with data:
                theirs = (data.fileno(), self._their_tokens.fileno(), self._their_bell)
                self._process = self._spawn(theirs)
            self._pidfd = _pidfd(self._process.pid)
            undo.pop_all()
        self.pid = self._process.pid
        self._channel = Channel(self._data, self._wait)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        if self._pidfd is not None:
            self._poll.register(self._pidfd, select.POLLIN)
        else:
            self._poll.register(self._data, select.POLLIN)

    def _spawn(self, theirs: tuple[int, int, int]) -> subprocess.Popen[bytes]:
        guard().start()
        argv = [sys.executable, *subprocess._args_from_interpreter_flags()]  # type: ignore[attr-defined]
        argv += ["-c", _START, json.dumps(self._path), *map(str, theirs), json.dumps(sys.argv)]
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self._environment},
            pass_fds=theirs,
            start_new_session=True,
        )
        try:
            guard().watch(process.pid)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def _wait(self, event: int) -> None:
        """Until the socket may be ready; for the middle of a message."""
        poll = select.poll()
        poll.register(self._data, event)
        poll.register(self._bell, select.POLLIN)
        if self._pidfd is not None:
            poll.register(self._pidfd, select.POLLIN)
        ready = dict(poll.poll())
        if self._data.fileno() in ready:
            return
        if self._pidfd in ready:
            raise EOFError
        self._hear(ready)

    def _hear(self, ready: dict[int, int]) -> None:
        if self._bell in ready:
            os.read(self._bell, 4096)
        if self.condemned:
            raise EOFError

    def wait_ready(self) -> None:
        """Until the child has started.

        Raises:
            WorkerGoneError: it did not come up, or was killed meanwhile.
        """
        try:
            message = self._channel.receive()
        except EOFError:
            raise WorkerGoneError(self._end()) from None
        assert message is not None
        assert message.place == READY

    def offer(self, places: Sequence[int | None]) -> None:
        """Write the tokens of a chunk, None for a task that is not to run; then `send` it."""
        with self._token_lock:
            self._tokens.sendall(bytes(SKIP[0] if place is None else place for place in places))

    def send(self, parts: Sequence[Part]) -> None:
        """Hand over the chunk.  If the child is gone, `collect` says so."""
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            self._channel.send(0, 0, parts)

    def news_of_path(self) -> list[str] | None:
        """``sys.path``, if it has changed since the child last heard of it."""
        path = [entry for entry in sys.path if isinstance(entry, str)]
        if path == self._path:
            return None
        self._path = path
        return path

    def collect(self, timeout: float | None) -> list[Message]:
        """Results that came; waits for the bell, or *timeout* seconds, then maybe none.

        Raises:
            WorkerGoneError: the process is gone, with nothing left of it; every result
                that it had sent was returned before.
        """
        ready = dict(self._poll.poll(None if timeout is None else timeout * 1000))
        if self._bell in ready:
            os.read(self._bell, 4096)
        if self.condemned:
            self._end()
        messages: list[Message] = []
        gone = self.condemned or self._pidfd in ready
        try:
            while (message := self._channel.receive(block=False)) is not None:
                messages.append(message)
        except EOFError:
            gone = True
        if gone and not messages:
            raise WorkerGoneError(self._end())
        return messages

    def take_back(self, wanted: Collection[int] | None = None) -> list[int]:
        """The places of those tasks that had not begun and now never will.

        Of all tasks; or of the *wanted* ones, unless one of them has begun: then of all.
        From any thread.  Once the process is gone it tells which tasks had not begun.
        """
        with self._token_lock:
            try:
                tokens = self._their_tokens.recv(4 * CHUNK, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return []
            back = [place for place in tokens if place != SKIP[0]]
            if wanted is not None and back and set(wanted) <= set(back):
                back = list(wanted)
            # The child counts the tokens of a chunk, so each is replaced.
            self._tokens.sendall(bytes(SKIP[0] if place in back else place for place in tokens))
            return back

    def kill(self) -> None:
        """SIGTERM to the group; the owner's `collect` sees to the rest.  From any thread."""
        with self._token_lock:
            if self.condemned or self._process.returncode is not None:
                return
            self.condemned = True
            signal_group(self.pid, signal.SIGTERM)
            os.write(self._their_bell, b"!")

    def close(self) -> None:
        """End the process: it leaves when its socket closes, or is killed after 2 s."""
        if self._process.returncode is None:
            with contextlib.suppress(OSError):
                self._data.shutdown(socket.SHUT_WR)
            if not self._gone_within(_LEAVE):
                signal_group(self.pid, signal.SIGTERM)
            # It comes here when there is no more to do: daemons of tasks may stay until
            # the guard ends.
            self._end(whole=self.condemned)
        for sock in (self._data, self._tokens, self._their_tokens):
            sock.close()
        for descriptor in (self._bell, self._their_bell, self._pidfd):
            if descriptor is not None:
                os.close(descriptor)

    def _end(self, *, whole: bool = True) -> int:
        """See to it that nobody of the group is left; the exit code.

        Nor, with *whole*, anybody who left it.
        """
        if self._process.returncode is None:
            if self.condemned:
                self._gone_within(self._grace)
            # Before the zombie is reaped its number cannot be another group's.
            if whole:
                kill_tree(self.pid, self._environment)
            else:
                signal_group(self.pid, signal.SIGKILL)
            with self._token_lock:
                guard().forget(self.pid)
                self._process.wait()
        return self._process.returncode

    def _gone_within(self, seconds: float) -> bool:
        if self._pidfd is not None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        # A look at the socket, because to wait for the process would reap it.
        with contextlib.suppress(OSError):
            self._data.settimeout(seconds)
            while self._data.recv(1 << 16):
                pass
            return True
        return False


def _pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends (Linux), or None."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
