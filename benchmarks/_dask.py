"""The shapes as one writes them for a Dask client: with futures as arguments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ._bodies import one_more, pause, shifted, top
from ._measure import Run, Side
from ._ours import WIDTH

__all__ = ["SHAPES", "WORKERS", "side"]

WORKERS = 2


async def bag(client: Any, size: int) -> list[int]:
    results: list[int] = await client.gather(client.map(one_more, range(size), pure=False))
    return results


async def chain(client: Any, size: int) -> list[int]:
    last = client.submit(one_more, 0, pure=False)
    for _ in range(size - 1):
        last = client.submit(one_more, last, pure=False)
    return [await last]


async def layers(client: Any, size: int) -> list[int]:
    layer = client.map(one_more, range(WIDTH), pure=False)
    for _ in range(size // WIDTH - 1):
        layer = [
            client.submit(
                top, layer[index - 1], layer[index], layer[(index + 1) % WIDTH], pure=False
            )
            for index in range(WIDTH)
        ]
    results: list[int] = await client.gather(layer)
    return results


async def payload(client: Any, size: int) -> float:
    import numpy as np

    array = client.submit(np.zeros, 1_250_000, pure=False)
    for _ in range(size):
        array = client.submit(shifted, array, pure=False)
    return float((await array)[-1])


async def naps(client: Any, size: int) -> float:
    last = client.submit(pause, 0.3, pure=False)
    for _ in range(size - 1):
        last = client.submit(pause, last, pure=False)
    return float(await last)


SHAPES: dict[str, Callable[[Any, int], Any]] = {
    "bag": bag,
    "chain": chain,
    "layers": layers,
    "payload": payload,
    "naps": naps,
}


def side(shape: Callable[[Any, int], Any]) -> Side:
    """Make the side that runs *shape* on a new cluster of single-threaded worker processes."""

    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        from distributed import Client, LocalCluster

        async with (
            LocalCluster(
                n_workers=WORKERS,
                threads_per_worker=1,
                dashboard_address=":0",
                asynchronous=True,
            ) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):

            async def run(size: int) -> object:
                return await shape(client, size)

            yield run

    return open_side
