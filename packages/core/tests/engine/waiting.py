"""How tests of the engine wait: for a condition, or in virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from ..simulation.world import VirtualLoop

DEADLINE = 20.0
"""Seconds after which a condition will not come true any more."""


async def until(condition: Callable[[], object]) -> None:
    """Return in the first turn of the loop in which *condition* holds."""
    limit = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < limit, "the condition did not come true"
        await asyncio.sleep(0)


async def turns(number: int = 10) -> None:
    """Let the loop turn, so that what would happen at once has happened."""
    for _ in range(number):
        await asyncio.sleep(0)


def at_full_speed(main: Coroutine[Any, Any, Any]) -> Any:
    """Run *main* without asyncio's debug mode, which looks at the stack for each future."""
    return asyncio.run(main, debug=False)


def in_virtual_time(main: Coroutine[Any, Any, Any]) -> Any:
    """Run *main* on a loop whose timers take no time."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main)
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert not loop.complaints, loop.complaints
        return result
    finally:
        asyncio.set_event_loop(None)
        loop.close()
