"""The launcher's own program: starts commands for another program, and says how they ended.

Run as a script, alone in a session, with nothing but the standard library: standard input
is a socket on which requests come, each with four descriptors, until it is closed.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import struct
import subprocess
import threading
from contextlib import suppress

_LENGTH = struct.Struct("<I")
_DESCRIPTORS = 4


def main() -> None:
    # A helper that ignores it, as the other program may, would not learn how children end.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    channel = socket.socket(fileno=os.dup(0))
    while True:
        header, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, _DESCRIPTORS)
        if not header:
            # The commands are ended by whoever ended the other program, or by its guard.
            os._exit(0)
        (length,) = _LENGTH.unpack(header + _receive(channel, _LENGTH.size - len(header)))
        request = _receive(channel, length)
        threading.Thread(target=_run, args=(request, descriptors), daemon=True).start()


def _receive(channel: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = channel.recv(min(length, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _run(request: bytes, descriptors: list[int]) -> None:
    """Start one command, wait for it, and say what happened."""
    *three, status = descriptors
    args, env, cwd = marshal.loads(request)
    try:
        try:
            # No preexec_fn and no change of user, so that subprocess uses vfork.
            process = subprocess.Popen(
                args,
                stdin=three[0],
                stdout=three[1],
                stderr=three[2],
                cwd=cwd,
                env=env,
                process_group=0,
            )
        finally:
            for descriptor in three:
                os.close(descriptor)
        _say(status, b"p%d\n" % process.pid)
        _say(status, b"x%d\n" % process.wait())
    except OSError as exc:
        _say(status, b"e%d %d\n" % (exc.errno or 0, exc.filename is not None))
    finally:
        os.close(status)


def _say(status: int, line: bytes) -> None:
    with suppress(BrokenPipeError):
        os.write(status, line)


if __name__ == "__main__":
    main()
