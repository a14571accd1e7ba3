"""Waiting for what other processes do, and finding those that a run has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

__all__ = ["HANG", "below", "until"]

HANG = 300.0
"""Seconds that nothing takes, not even on a busy machine."""


async def until(condition: Callable[[], bool], seconds: float = HANG) -> None:
    """Wait until *condition* holds; *seconds* are for a hang, not for a busy machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def below(folder: Path) -> list[psutil.Process]:
    """Live processes whose working folder, or a word of whose command, is in *folder*."""
    found = []
    for process in psutil.process_iter():
        try:
            places = [process.cwd(), *process.cmdline()]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in p for p in places):
                found.append(process)
        except (psutil.Error, OSError):  # it has just ended
            continue
    return found
