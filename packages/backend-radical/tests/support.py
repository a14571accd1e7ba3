"""Ways to wait for other processes, and to find those of a run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

__all__ = ["HANG_S", "below", "until"]

HANG_S = 300.0
"""Seconds after which something hangs, even on a busy machine."""


async def until(condition: Callable[[], bool], seconds: float = HANG_S) -> None:
    """Wait until *condition* holds; fail after *seconds*, long enough for a busy machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def below(folder: Path) -> list[psutil.Process]:
    """Return the live processes that work in *folder* or name it in their command."""
    found = []
    for process in psutil.process_iter():
        try:
            places = [process.cwd(), *process.cmdline()]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in p for p in places):
                found.append(process)
        except (psutil.Error, OSError):  # it has just ended
            continue
    return found
