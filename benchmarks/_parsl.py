"""The shapes as one writes them for Parsl's HighThroughputExecutor: with its futures."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ._bodies import nothing, one_more, pause, shifted
from ._measure import Run, Side

__all__ = ["NAPS", "SHAPES", "WORKERS", "executor", "side"]

WORKERS = 2
NAPS = {"1ms": 0.001, "10ms": 0.01, "100ms": 0.1}

Shape = Callable[[Any, int], Coroutine[Any, Any, Any]]


async def bag(htex: Any, size: int) -> int:
    futures = [asyncio.wrap_future(htex.submit(nothing, {})) for _ in range(size)]
    return len(await asyncio.gather(*futures))


async def chain(htex: Any, size: int) -> int:
    # Parsl sends a task when the one before it is done.
    last = 0
    for _ in range(size):
        last = await asyncio.wrap_future(htex.submit(one_more, {}, last))
    return last


async def payload(htex: Any, size: int) -> float:
    import numpy as np

    array = np.zeros(1_250_000)
    for _ in range(size):
        array = await asyncio.wrap_future(htex.submit(shifted, {}, array))
    return float(array[-1])


async def latency(htex: Any, size: int) -> int:
    for _ in range(size):
        await asyncio.wrap_future(htex.submit(nothing, {}))
    return size


def naps(seconds: float) -> Shape:
    """Return the shape of tasks that sleep."""

    async def shape(htex: Any, size: int) -> int:
        futures = [asyncio.wrap_future(htex.submit(pause, {}, seconds)) for _ in range(size)]
        return len(await asyncio.gather(*futures))

    return shape


SHAPES: dict[str, Shape] = {
    "bag": bag,
    "chain": chain,
    "payload": payload,
    "latency": latency,
    **{name: naps(seconds) for name, seconds in NAPS.items()},
}


def executor(folder: Path, workers: int = WORKERS) -> Any:
    """Return a started executor with one block of this machine."""
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    htex = HighThroughputExecutor(
        provider=LocalProvider(init_blocks=1, max_blocks=1),
        max_workers_per_node=workers,
        cores_per_worker=1e-6,  # Parsl would start no more workers than there are cores
        address="127.0.0.1",
    )
    htex.run_dir = str(folder)
    htex.provider.script_dir = str(folder)
    htex.start()
    htex.scale_out_facade(1)
    return htex


def side(shape: Shape, workers: int = WORKERS) -> Side:
    """Make the side that runs *shape* on a new executor."""

    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            htex = executor(Path(folder), workers)
            try:

                async def run(size: int) -> object:
                    return await shape(htex, size)

                yield run
            finally:
                htex.scale_in(1)
                htex.shutdown()

    return open_side
