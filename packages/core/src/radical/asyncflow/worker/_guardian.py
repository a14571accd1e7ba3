"""The guard's own program: kills what another program started, once that is gone.

Run as a script, alone in a session, with nothing but the standard library: standard
input is a pipe that the other program holds, the argument its token.  Lines ``+N`` and
``-N`` say which process groups to kill when the pipe ends or a line ``.`` comes.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress

_ROUNDS = 300
_LOOKS = 3  # that find nobody, before we believe it
_PAUSE = 0.01  # seconds between two rounds
_NAP = 0.02  # seconds: news is read in bundles, so that a burst of commands is not slowed


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    groups = _listen()
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    _kill_marked(b"ASYNCFLOW_PROGRAM=" + os.fsencode(sys.argv[1]))


def _listen() -> set[int]:
    """Follow the lines until there will be no more; the groups that are left.

    A fork of the program may hold the pipe open, so its death is looked for as well.
    """
    groups: set[int] = set()
    poll = select.poll()
    poll.register(0, select.POLLIN)
    program = int(sys.argv[2])
    timeout: int | None = 500
    if hasattr(os, "pidfd_open"):
        with suppress(OSError):
            poll.register(os.pidfd_open(program), select.POLLIN)
            timeout = None
    rest = b""
    while True:
        ready = {descriptor for descriptor, _ in poll.poll(timeout)}
        if 0 in ready:
            data = os.read(0, 65536)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line == b".":
                    return groups
                (groups.add if line.startswith(b"+") else groups.discard)(int(line[1:]))
            if not data:
                return groups
            time.sleep(_NAP)
        elif os.getppid() != program:
            return groups


def _kill_marked(mark: bytes) -> None:
    """Kill every process whose environment holds *mark*, until none is left (Linux)."""
    me = str(os.getpid())
    clean = 0
    for _ in range(_ROUNDS):
        found = False
        try:
            names = os.listdir("/proc")  # noqa: PTH208 - pathlib is slow to import
        except OSError:
            return
        for name in names:
            if name.isdigit() and name != me:
                with suppress(OSError):
                    with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123
                        marked = mark in file.read().split(b"\0")
                    if marked:
                        found = True
                        os.kill(int(name), signal.SIGKILL)
        # One look can miss a process that forks or executes at that moment.
        clean = 0 if found else clean + 1
        if clean == _LOOKS:
            return
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main()
