"""Whether the loop stands still, or only the machine has no time for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

__all__ = ["loop_never_stalls"]

_TICK = 0.01
"""Seconds that the other thread sleeps between two looks at its count."""
_LIMIT = 0.3
"""Seconds that no turn of the loop may take: the contract's 0.1, and a noisy machine's share."""


@asynccontextmanager
async def loop_never_stalls() -> AsyncIterator[None]:
    """Fail if the loop stood still while the rest of the program did not.

    What counts of a turn is what another thread saw pass meanwhile, which a machine that
    has no time for us stops too; and of that not more than the time in which the loop's
    thread did not wait for a processor, as far as the system tells.
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
    """Seconds for which this thread could have run, and had no processor; 0 if untold."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
