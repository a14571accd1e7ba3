"""The shapes in plain asyncio, with nothing to execute: the reference for any engine.

Each is written as one would write it by hand: a task for each node, which awaits the nodes
that it depends on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ._measure import Run, Side
from ._ours import WIDTH

__all__ = ["SHAPES", "side"]

Node = asyncio.Task[None]


async def bag(size: int) -> list[None]:
    async def node(number: int) -> None:
        pass

    return await asyncio.gather(*[asyncio.create_task(node(number)) for number in range(size)])


async def chain(size: int) -> list[int]:
    async def node(previous: Node | None) -> None:
        if previous is not None:
            await previous

    last = asyncio.create_task(node(None))
    for _ in range(size - 1):
        last = asyncio.create_task(node(last))
    await last
    return [size]


async def fan(size: int) -> list[int]:
    async def source() -> None:
        pass

    async def node(previous: Node) -> None:
        await previous

    async def sink(nodes: list[Node]) -> None:
        await asyncio.gather(*nodes)

    first = asyncio.create_task(source())
    nodes = [asyncio.create_task(node(first)) for _ in range(size - 2)]
    await asyncio.create_task(sink(nodes))
    return [size]


async def layers(size: int) -> list[None]:
    async def source(number: int) -> None:
        pass

    async def node(first: Node, second: Node, third: Node) -> None:
        await first
        await second
        await third

    layer = [asyncio.create_task(source(number)) for number in range(WIDTH)]
    for _ in range(size // WIDTH - 1):
        layer = [
            asyncio.create_task(node(layer[index - 1], layer[index], layer[(index + 1) % WIDTH]))
            for index in range(WIDTH)
        ]
    return await asyncio.gather(*layer)


SHAPES: dict[str, Callable[[int], Any]] = {
    "bag": bag,
    "chain": chain,
    "fan": fan,
    "layers": layers,
}


def side(shape: Callable[[int], Any]) -> Side:
    """Make the side that runs *shape*; its result is the number of results."""

    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        async def run(size: int) -> object:
            return len(await shape(size))

        yield run

    return open_side
