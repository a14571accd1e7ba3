"""A helper process that starts commands and waits for them where this program cannot.

A program that ignores SIGCHLD, or in which something waits for any child, does not learn
how its own children ended.  The launcher is the parent of the commands in such a program,
and says through a pipe how each of them ended.
"""

from __future__ import annotations

import marshal
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ._guard import bare_environment, child_environment, guard, start_guarded

__all__ = ["Launcher", "launcher"]

_LENGTH = struct.Struct("<I")
_ATTEMPTS = 2  # to hand over a request: the helper may have been killed since the last one


class Launcher:
    """Handle on the helper process; every method may be called from any thread."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def launch(
        self,
        args: Sequence[str],
        env: Mapping[bytes, bytes],
        cwd: str | None,
        three: Sequence[int],
        status: int,
    ) -> None:
        """Have the program *args* started in a process group of its own.

        Args:
            three: what it gets as its first three descriptors.
            status: the end of a pipe, to which the helper writes lines: ``p`` and the
                process id, or ``e``, an error number and whether it is about the program;
                and at the end ``x`` and the exit code.
        """
        words = [os.fsencode(word) for word in args]
        folder = None if cwd is None else os.fsencode(cwd)
        request = marshal.dumps((words, dict(env), folder))
        for left in reversed(range(_ATTEMPTS)):
            with self._lock:
                try:
                    channel = self._started()
                    socket.send_fds(channel, [_LENGTH.pack(len(request))], [*three, status])
                    channel.sendall(request)
                    return
                except (BrokenPipeError, ConnectionResetError):
                    self._close()
                    if not left:
                        raise

    def _started(self) -> socket.socket:
        if self._channel is None:
            script = str(Path(__file__).with_name("_launching.py"))
            self._channel, theirs = socket.socketpair()
            with theirs:
                self._process = start_guarded(
                    [sys.executable, "-I", "-S", script],
                    watched=False,  # it ends with the other end of its channel
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={**bare_environment(), **child_environment()},
                )
            guard().call_at_end(self.close)
        return self._channel

    def close(self) -> None:
        """End the helper, if there is one; it does not wait for commands any more."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        channel, self._channel = self._channel, None
        process, self._process = self._process, None
        if channel is not None:
            channel.close()
        if process is not None:
            process.kill()
            process.wait()

    def _in_fork(self) -> None:
        # The helper is the parent's.
        if self._channel is not None:
            with suppress(OSError):
                self._channel.close()
        if self._process is not None:
            self._process.returncode = 0
        self._reset()


_launcher = Launcher()
os.register_at_fork(after_in_child=_launcher._in_fork)


def launcher() -> Launcher:
    """Return the launcher of this process."""
    return _launcher
