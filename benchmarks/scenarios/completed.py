"""``flow.as_completed`` beside that of asyncio, over the same calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from radical.asyncflow import WorkflowEngine

from .. import _bodies
from .._measure import COST, Run, Side, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

SIZES = (10_000, 100_000)
ASYNCIO = "asyncio.as_completed"


async def _ours(flow: WorkflowEngine, size: int) -> int:
    task = flow.function_task(_bodies.one_more)
    count = 0
    async for future in flow.as_completed([task(number) for number in range(size)]):
        await future
        count += 1
    return count


async def _asyncio(flow: WorkflowEngine, size: int) -> int:
    task = flow.function_task(_bodies.one_more)
    count = 0
    for future in asyncio.as_completed([task(number) for number in range(size)]):
        await future
        count += 1
    return count


def _side(work: Callable[[WorkflowEngine, int], Coroutine[Any, Any, int]]) -> Side:
    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        async with WorkflowEngine.create(backend="noop") as flow:
            yield lambda size: work(flow, size)

    return open_side


def _measure(settings: Settings) -> Sequence[Row]:
    found: list[Row] = []
    for full in SIZES:
        size = settings.size(full)
        sides = {OURS: _side(_ours), ASYNCIO: _side(_asyncio)}
        goals = {COST: Goal(1.0, ASYNCIO)}
        found += rows("as-completed", size, contest(sides, size, settings.repeat), goals)
    return found


SCENARIOS = [
    Scenario("as-completed", "flow.as_completed over noop tasks, beside that of asyncio", _measure)
]
