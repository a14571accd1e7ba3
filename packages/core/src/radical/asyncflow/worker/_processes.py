"""Processes that are to end: signals for them, and a look at who is left."""

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
from ._guardian import PROGRAM_VARIABLE, end_all, kill, marked

__all__ = [
    "EXECUTION_VARIABLE",
    "STUBBORN_S",
    "end_all",
    "end_marked",
    "kill_in_group",
    "kill_tree",
    "marked_processes",
    "signal_group",
    "survivors",
]

EXECUTION_VARIABLE = "ASYNCFLOW_EXECUTION"
"""Environment variable that tells which execution a process belongs to."""

STUBBORN_S = 10.0
"""Seconds after SIGKILL until nobody waits any longer (uninterruptible sleep)."""

_log = logging.getLogger("radical.asyncflow.worker")
_NO_GROUP = -1
_MARK = f"{EXECUTION_VARIABLE}=".encode()
_PROC = Path("/proc/self/environ").exists()

public("radical.asyncflow.worker")(end_all)  # written where nothing can be imported


@public("radical.asyncflow.worker")
def signal_group(pgid: int, sig: int) -> bool:
    """Send *sig* to every process of the group; return False if there is none.

    A process that we may not signal (it changed its user) counts as being there.
    """
    try:
        os.killpg(pgid, sig)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@public("radical.asyncflow.worker")
def kill_tree(pgid: int, environment: Mapping[str, str]) -> None:
    """Kill the group and, on Linux, whoever left it, until nobody is there.

    Those who left it, for a session of their own, are known by the mark that they
    inherited.  This blocks for some 20 ms, or up to 10 s if somebody survives SIGKILL.
    Call it before the leader of the group is waited for: until then its number is its
    own.

    Args:
        environment: what `child_environment` gave for the leader.
    """
    mark = _MARK + environment[EXECUTION_VARIABLE].encode()
    signal_group(pgid, signal.SIGKILL)
    left = end_all(
        lambda: survivors(pgid, mark), seconds=STUBBORN_S, end=lambda pid: kill_in_group(pid, pgid)
    )
    if left:
        _log.error("processes %s survive SIGKILL", sorted(left))


def end_marked(mark: bytes, grace: float) -> None:
    """End all processes with *mark*: by SIGTERM, and what remains after the grace by SIGKILL."""
    asked: set[int] = set()

    def ask(pid: int) -> None:
        if pid not in asked:
            asked.add(pid)
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)

    def find() -> frozenset[int]:
        return _census.members(_NO_GROUP, mark) if _PROC else frozenset()

    if end_all(find, seconds=grace, end=ask):
        left = end_all(find, seconds=STUBBORN_S)
        if left:
            _log.error("processes %s survive SIGKILL", sorted(left))


def kill_in_group(pid: int, pgid: int) -> None:
    """Send SIGKILL to *pid*; to all of the group if that is who is meant (see `survivors`)."""
    if pid == pgid:
        signal_group(pgid, signal.SIGKILL)
    else:
        kill(pid)


@public("radical.asyncflow.worker")
def marked_processes(token: str) -> list[int]:
    """Return the ids of other processes that carry *token*, a guard's or the like (Linux).

    It is read from the environment with which each was started.
    """
    return list(marked(f"{PROGRAM_VARIABLE}={token}".encode()))


def survivors(pgid: int, mark: bytes) -> frozenset[int]:
    """Return the ids of living processes of the group, and of those with *mark* (Linux).

    Without ``/proc``: the group's id itself, as long as anybody is in the group.
    """
    if not _PROC:
        return frozenset({pgid}) if signal_group(pgid, 0) else frozenset()
    return _census.members(pgid, mark)


class _Census:
    """All living processes by group and by mark; those who ask at one time share a count."""

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
            start = variables.find(_MARK)
            if start != -1:
                mark = variables[start:].partition(b"\0")[0]
                self._marks.setdefault(mark, set()).add(pid)


_census = _Census()
