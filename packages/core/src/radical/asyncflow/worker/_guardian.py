"""The guard's own program: kills what another program started, once that is gone.

Run as a script, alone in a session, with nothing but the standard library: standard
input is a pipe that the other program holds, the arguments are its token and its id.
Lines ``+N`` and ``-N`` say which process groups to kill when the pipe ends or a line
``.`` comes.  A line ``!JSON`` names a command that is run if the pipe ends without that line.

`end_all` is written here because this script can import nothing of the package; the
package imports it from here.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

PROGRAM_VARIABLE = "ASYNCFLOW_PROGRAM"
"""The environment variable with the token of the guard of the program a process belongs to."""

CLEAN_LOOKS = 3
"""Looks in a row that find no process, before it is believed that there is none.

One look can miss a process that forks or executes a program at that moment: its
environment is empty for an instant.
"""

_CLEAN_PAUSE_S = 0.01  # between such looks
_FIRST_PAUSE_S = 0.004  # between looks that find processes; it grows
_LONGEST_PAUSE_S = 0.1
_STUBBORN_S = 4.0  # less than a program waits for its guard
_BUNDLE_PAUSE_S = 0.02  # news is read in bundles, so that a burst of commands is not slowed
_PARENT_POLL_MS = 500  # where no descriptor tells of the program's end


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    groups, commands = _listen()
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    mark = os.fsencode(f"{PROGRAM_VARIABLE}={sys.argv[1]}")
    end_all(lambda: marked(mark), seconds=_STUBBORN_S)
    for words, environment in commands:
        with suppress(OSError):
            pid = os.posix_spawnp(words[0], words, environment)
            os.waitpid(pid, 0)


def _listen() -> tuple[set[int], list[tuple[list[str], dict[str, str]]]]:
    """Follow the lines until there will be no more; return the groups and commands that are left.

    A fork of the program may hold the pipe open, so its death is looked for as well.
    """
    groups: set[int] = set()
    commands: list[tuple[list[str], dict[str, str]]] = []
    poll = select.poll()
    poll.register(0, select.POLLIN)
    program = int(sys.argv[2])
    timeout: int | None = _PARENT_POLL_MS
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
                    return groups, []
                if line.startswith(b"!"):
                    import json  # few programs need it

                    commands.append(json.loads(line[1:]))
                else:
                    (groups.add if line.startswith(b"+") else groups.discard)(int(line[1:]))
            if not data:
                return groups, commands
            time.sleep(_BUNDLE_PAUSE_S)
        elif os.getppid() != program:
            return groups, commands


def kill(pid: int) -> None:
    """Send SIGKILL to the process *pid*, if it is there and we may."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def end_all(
    find: Callable[[], Iterable[int]],
    *,
    seconds: float,
    end: Callable[[int], object] = kill,
    pause: Callable[[float], object] = time.sleep,
) -> list[int]:
    """End the processes that *find* finds, again and again, until there are none.

    Args:
        find: returns the ids of the processes that are still there.
        seconds: after which those that are still there are given up.
        end: what is done to each of them, each time that it is found.
        pause: how to wait between two looks.

    Returns:
        The ids of those that are still there.
    """
    deadline = time.monotonic() + seconds
    between = _FIRST_PAUSE_S
    clean = 0
    while True:
        left = []
        for pid in find():
            end(pid)
            left.append(pid)
        now = time.monotonic()
        if left:
            if now >= deadline:
                return left
            clean = 0
            pause(min(between, deadline - now))
            between = min(1.5 * between, _LONGEST_PAUSE_S)
        else:
            clean += 1
            if clean == CLEAN_LOOKS:
                return left
            pause(_CLEAN_PAUSE_S)


def marked(mark: bytes) -> Iterator[int]:
    """Yield the ids of other processes that have *mark* in their first environment (Linux)."""
    me = str(os.getpid())
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - pathlib is slow to import
    except OSError:
        return
    for name in names:
        if name.isdigit() and name != me:
            try:
                with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123
                    found = mark in file.read().split(b"\0")
            except OSError:
                continue  # it has just ended, or belongs to another user
            if found:
                yield int(name)


if __name__ == "__main__":
    main()
