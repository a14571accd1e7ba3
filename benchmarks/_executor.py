"""The shapes as one writes them with ``loop.run_in_executor``, on threads or processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import Any

from ._bodies import one_more, top, total
from ._measure import Run, Side
from ._ours import WIDTH

__all__ = ["SHAPES", "side"]

Node = asyncio.Future[int]


async def bag(pool: Executor, size: int) -> list[int]:
    loop = asyncio.get_running_loop()
    return await asyncio.gather(
        *[loop.run_in_executor(pool, one_more, number) for number in range(size)]
    )


async def chain(pool: Executor, size: int) -> list[int]:
    loop = asyncio.get_running_loop()

    async def node(previous: Node) -> int:
        return await loop.run_in_executor(pool, one_more, await previous)

    last: Node = loop.run_in_executor(pool, one_more, 0)
    for _ in range(size - 1):
        last = asyncio.create_task(node(last))
    return [await last]


async def fan(pool: Executor, size: int) -> list[int]:
    loop = asyncio.get_running_loop()

    async def node(previous: Node) -> int:
        return await loop.run_in_executor(pool, one_more, await previous)

    async def sink(nodes: list[asyncio.Task[int]]) -> int:
        return await loop.run_in_executor(pool, total, await asyncio.gather(*nodes))

    source = loop.run_in_executor(pool, one_more, 0)
    return [await sink([asyncio.create_task(node(source)) for _ in range(size - 2)])]


async def layers(pool: Executor, size: int) -> list[int]:
    loop = asyncio.get_running_loop()

    async def node(first: Node, second: Node, third: Node) -> int:
        return await loop.run_in_executor(pool, top, await first, await second, await third)

    layer: list[Node] = [loop.run_in_executor(pool, one_more, number) for number in range(WIDTH)]
    for _ in range(size // WIDTH - 1):
        layer = [
            asyncio.create_task(node(layer[index - 1], layer[index], layer[(index + 1) % WIDTH]))
            for index in range(WIDTH)
        ]
    return await asyncio.gather(*layer)


SHAPES: dict[str, Callable[[Executor, int], Any]] = {
    "bag": bag,
    "chain": chain,
    "fan": fan,
    "layers": layers,
}


def side(shape: Callable[[Executor, int], Any], pool: Callable[[], Executor]) -> Side:
    """Make the side that runs *shape* on a new pool."""

    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        with pool() as executor:

            async def run(size: int) -> object:
                return await shape(executor, size)

            yield run

    return open_side
