"""Wait for the files and processes by which checks see tasks from outside.

Checks wait for an event with a deadline, and never sleep for it.  That nothing happens can be
seen only over some time: `falls_still` and `adds_nothing` watch for many beats of a task that
would go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from .. import _functions as functions

_STILL = 0.5
"""Seconds without a beat after which work counts as stopped."""
_AFTERWARDS = 0.2
"""Seconds for which what has ended is watched for signs of life."""


async def until(condition: Callable[[], bool], what: str, deadline: float = 30.0) -> None:
    """Poll until *condition* holds; fail after *deadline* seconds, naming *what*."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"not within {deadline:g} s: {what}"
        await asyncio.sleep(0.01)


async def appears(folder: str, name: str, deadline: float = 30.0) -> None:
    """Wait for a file that a task makes."""
    path = Path(folder) / name
    await until(path.exists, f"{name} in {sorted(p.name for p in path.parent.iterdir())}", deadline)


async def comes(folder: str, name: str, deadline: float = 1.0) -> bool:
    """Tell whether a task makes this file within *deadline* seconds."""
    try:
        await appears(folder, name, deadline)
    except AssertionError:
        return False
    return True


async def falls_still(folder: str, deadline: float = 30.0) -> None:
    """Wait until `functions.beat` has added nothing to its file for half a second."""
    end = time.monotonic() + deadline
    before = -1
    while before != (size := _beats(folder)):
        assert time.monotonic() < end, f"the work goes on after {deadline:g} s"
        before = size
        await asyncio.sleep(_STILL)


async def adds_nothing(count: Callable[[], int]) -> None:
    """Fail if *count* grows during twenty beats of a task."""
    before = count()
    await asyncio.sleep(_AFTERWARDS)
    assert count() == before


async def beats_no_more(folder: str) -> None:
    """Fail if `functions.beat` still adds to its file."""
    await adds_nothing(lambda: _beats(folder))


def _beats(folder: str) -> int:
    file = Path(folder) / "beats"
    return file.stat().st_size if file.exists() else 0


def open_gate(folder: str) -> None:
    """Let every task that waits in *folder* go on."""
    (Path(folder) / "gate").touch()


def marked(mark: str) -> list[str]:
    """List the live processes that carry *mark* in their environment."""
    import psutil  # type: ignore[import-untyped]

    found = []
    for process in psutil.process_iter():
        try:
            if _lives(process) and process.environ().get(functions.MARK) == mark:
                found.append(f"{process.pid} {process.cmdline()}")
        except psutil.Error:
            # It ended meanwhile, or belongs to somebody else.
            continue
    return found


def lives(pid: int) -> bool:
    """Return whether the process runs; one that nobody has waited for does not."""
    import psutil

    try:
        return _lives(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def _lives(process) -> bool:  # type: ignore[no-untyped-def]
    import psutil

    return bool(process.status() != psutil.STATUS_ZOMBIE)
