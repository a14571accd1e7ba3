"""The shapes as a user of AsyncFlow writes them, on any backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from radical.asyncflow import WorkflowEngine

from . import _bodies
from ._measure import Run, Side

__all__ = ["SHAPES", "bag", "chain", "fan", "layers", "side"]

WIDTH = 100


async def bag(flow: WorkflowEngine, size: int) -> list[Any]:
    one_more = flow.function_task(_bodies.one_more)
    return await asyncio.gather(*[one_more(number) for number in range(size)])


async def chain(flow: WorkflowEngine, size: int) -> list[Any]:
    one_more = flow.function_task(_bodies.one_more)
    last = one_more(0)
    for _ in range(size - 1):
        last = one_more(last)
    return [await last]


async def fan(flow: WorkflowEngine, size: int) -> list[Any]:
    one_more = flow.function_task(_bodies.one_more)
    total = flow.function_task(_bodies.total)
    source = one_more(0)
    return [await total([one_more(source) for _ in range(size - 2)])]


async def layers(flow: WorkflowEngine, size: int) -> list[Any]:
    one_more = flow.function_task(_bodies.one_more)
    top = flow.function_task(_bodies.top)
    layer = [one_more(number) for number in range(WIDTH)]
    for _ in range(size // WIDTH - 1):
        layer = [
            top(layer[index - 1], layer[index], layer[(index + 1) % WIDTH])
            for index in range(WIDTH)
        ]
    return await asyncio.gather(*layer)


SHAPES: dict[str, Callable[[WorkflowEngine, int], Any]] = {
    "bag": bag,
    "chain": chain,
    "fan": fan,
    "layers": layers,
}


def side(shape: Callable[[WorkflowEngine, int], Any], backend: str, **config: Any) -> Side:
    """Make the side that runs *shape* on a new engine.

    On ``noop``, where nothing runs, the result is the number of results.
    """

    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        async with WorkflowEngine.create(backend=backend, config=config or None) as flow:

            async def run(size: int) -> object:
                results = await shape(flow, size)
                return len(results) if backend == "noop" else results

            yield run

    return open_side
