"""A guard that tells a loop that stands still from a machine that has no time for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

__all__ = ["loop_never_stalls"]

_TICK = 0.01
"""Seconds between two ticks of the other thread."""
_LIMIT = 0.3
"""Seconds that a turn of the loop may take, more than the contract's 0.1 on a noisy machine."""


@asynccontextmanager
async def loop_never_stalls() -> AsyncIterator[None]:
    """Fail if the loop stands still while the rest of the program does not.

    A turn of the loop is measured by the ticks of another thread, because a machine that
    has no time for this program stops that thread too.  The time in which the loop's
    thread waited for a processor does not count, where the system reports it.
    """
    ticks, longest = 0, 0.0
    ended = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not ended.wait(_TICK):
            ticks += 1

    async def turn() -> None:
        nonlocal longest
        last, began, waited = ticks, time.monotonic(), _waited()
        while True:
            await asyncio.sleep(_TICK / 2)
            now, wait = time.monotonic(), _waited()
            longest = max(longest, min((ticks - last) * _TICK, now - began - (wait - waited)))
            last, began, waited = ticks, now, wait

    thread = threading.Thread(target=tick, name="stalls")
    thread.start()
    turning = asyncio.ensure_future(turn())
    await asyncio.sleep(0)
    try:
        yield
        await asyncio.sleep(_TICK)
    finally:
        turning.cancel()
        await asyncio.wait([turning])
        ended.set()
        thread.join()
    assert longest < _LIMIT, f"the loop stood still for {longest:.1f} s"


def _waited() -> float:
    """Return the seconds for which this thread waited for a processor; 0 if that is unknown."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
