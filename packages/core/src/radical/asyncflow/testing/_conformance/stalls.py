"""Whether the loop stands still, told by what another thread does meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["loop_never_stalls"]

_TICK = 0.01
"""Seconds that the other thread sleeps between two looks at its count."""
_LIMIT = 30
"""Ticks that no turn of the loop may take: the contract's 0.1 s, and a noisy machine's share."""


@asynccontextmanager
async def loop_never_stalls() -> AsyncIterator[None]:
    """Fail if the loop stood still while the rest of the program did not.

    A machine that has no time for us stops both the loop and the thread that counts, so
    it cannot be mistaken for a loop that somebody blocks.
    """
    ticks, longest = 0, 0
    ended = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not ended.wait(_TICK):
            ticks += 1

    async def turn() -> None:
        nonlocal longest
        last = ticks
        while True:
            await asyncio.sleep(_TICK / 2)
            longest, last = max(longest, ticks - last), ticks

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
    assert longest < _LIMIT, f"the loop stood still for {longest * _TICK:.1f} s"
