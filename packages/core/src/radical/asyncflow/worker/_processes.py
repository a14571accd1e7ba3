"""Process groups: signalling them, and finding out who is left of them."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .._public import public

MARK = b"ASYNCFLOW_EXECUTION="
"""Environment variable that tells which execution a process belongs to."""

LOOKS = 3
"""That find nobody, before it is believed.

One look can miss a process that forks or executes at that moment: its environment is
empty for an instant.
"""
BETWEEN = 0.01
"""Seconds between such looks."""
STUBBORN = 10.0
"""Seconds after SIGKILL until nobody waits any longer (uninterruptible sleep)."""

_log = logging.getLogger("radical.asyncflow.worker")
_PROC = Path("/proc/self/environ").exists()


@public("radical.asyncflow.worker")
def signal_group(pgid: int, sig: int) -> bool:
    """Send *sig* to every process of the group; False if there is none.

    A process that we may not signal (it changed its user) counts as being there.
    """
    try:
        os.killpg(pgid, sig)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def signal_processes(pids: frozenset[int], sig: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, sig)


@public("radical.asyncflow.worker")
def kill_tree(pgid: int, environment: Mapping[str, str]) -> None:
    """SIGKILL to the group, and on Linux to whoever left it, until nobody is there.

    Those who left it, for a session of their own, are known by the mark that they
    inherited.  Blocks for some 20 ms, or up to 10 s if somebody survives SIGKILL; call it
    before the leader of the group is waited for, while its number is its own.

    Args:
        environment: what `child_environment` gave for the leader.
    """
    name = MARK.decode().rstrip("=")
    mark = MARK + environment[name].encode()
    deadline = time.monotonic() + STUBBORN
    clean = 0
    while True:
        signal_group(pgid, signal.SIGKILL)
        left = survivors(pgid, mark)
        clean = 0 if left else clean + 1
        if clean == LOOKS:
            return
        if left and time.monotonic() > deadline:
            _log.error("processes %s survive SIGKILL", sorted(left))
            return
        signal_processes(left, signal.SIGKILL)
        time.sleep(BETWEEN)


def survivors(pgid: int, mark: bytes) -> frozenset[int]:
    """Ids of living processes of the group, and of those started with *mark* (Linux).

    Without ``/proc``: the group's id itself, as long as anybody is in the group.
    """
    if not _PROC:
        return frozenset({pgid}) if signal_group(pgid, 0) else frozenset()
    return _census.members(pgid, mark)


class _Census:
    """All living processes by group and by mark; callers at one time share one count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = 0.0
        self._groups: dict[int, set[int]] = {}
        self._marks: dict[bytes, set[int]] = {}

    def members(self, pgid: int, mark: bytes) -> frozenset[int]:
        asked = time.monotonic()
        with self._lock:
            if self._begun <= asked:
                self._begun = time.monotonic()
                self._count()
            return frozenset(self._groups.get(pgid, set()) | self._marks.get(mark, set()))

    def _count(self) -> None:
        self._groups = {}
        self._marks = {}
        for name in os.listdir("/proc"):  # noqa: PTH208 - hundreds of names, often
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    # The command's name, in parentheses, may hold anything.
                    state, _, group = file.read().rpartition(b")")[2].split(None, 3)[:3]
            except OSError:
                continue  # it has just ended
            if state in (b"Z", b"X"):
                continue
            pid = int(name)
            self._groups.setdefault(int(group), set()).add(pid)
            try:
                with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123
                    variables = file.read()
            except OSError:
                continue  # it has ended, or belongs to another user
            start = variables.find(MARK)
            if start != -1:
                mark = variables[start:].partition(b"\0")[0]
                self._marks.setdefault(mark, set()).add(pid)


_census = _Census()
