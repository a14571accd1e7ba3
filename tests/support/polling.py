"""Ways to wait in a test for what nothing tells of, such as the end of a process elsewhere."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

__all__ = ["HANG_S", "until", "wait_until"]

HANG_S = 300.0
"""Seconds after which something hangs, even on a busy machine."""

_FIRST_PAUSE_S = 0.002
_LAST_PAUSE_S = 0.05

T = TypeVar("T")


async def until(condition: Callable[[], T | Awaitable[T]], limit_s: float = HANG_S) -> T:
    """Return what *condition* returns or resolves to as soon as that is true; fail after *limit_s*.

    The loop goes on meanwhile.
    """
    for pause in _pauses(limit_s):
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        await asyncio.sleep(pause)
    raise AssertionError(f"it did not come true in {limit_s:g} s")


def wait_until(condition: Callable[[], T], limit_s: float = HANG_S) -> T:
    """Return what *condition* returns as soon as that is true; fail after *limit_s*."""
    for pause in _pauses(limit_s):
        if found := condition():
            return found
        time.sleep(pause)
    raise AssertionError(f"it did not come true in {limit_s:g} s")


def _pauses(limit_s: float) -> Iterator[float]:
    """Yield pauses, short ones first, because most waits are short and some looks are dear."""
    deadline = time.monotonic() + limit_s
    pause = _FIRST_PAUSE_S
    while time.monotonic() < deadline:
        yield pause
        pause = min(1.2 * pause, _LAST_PAUSE_S)
