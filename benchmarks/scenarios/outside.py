"""A backend in a process of its own, beside the same backend in the program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import ExecutionBackend

from .. import _bodies
from .._guests import Nothing, NothingOutside
from .._measure import COST, Run, Side, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

TASKS = 100_000
REFERENCE = "in the program"
MOST_US = 15.0


async def _nothing(flow: WorkflowEngine, size: int) -> int:
    task = flow.function_task(_bodies.nothing)
    return len(await asyncio.gather(*[task() for _ in range(size)]))


async def _number(flow: WorkflowEngine, size: int) -> int:
    task = flow.function_task(_bodies.one_more)
    return len(await asyncio.gather(*[task(number) for number in range(size)]))


def _side(
    work: Callable[[WorkflowEngine, int], Coroutine[Any, Any, int]],
    make: Callable[[], ExecutionBackend],
) -> Side:
    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        async with WorkflowEngine.create(make()) as flow:
            yield lambda size: work(flow, size)

    return open_side


def _measure(
    name: str,
    work: Callable[[WorkflowEngine, int], Coroutine[Any, Any, int]],
    settings: Settings,
) -> Sequence[Row]:
    sides = {OURS: _side(work, NothingOutside), REFERENCE: _side(work, Nothing)}
    size = settings.size(TASKS)
    goals = {COST: Goal(MOST_US, None)} if work is _nothing else None
    return rows(name, size, contest(sides, size, settings.repeat), goals)


SCENARIOS = [
    Scenario(name, f"{what}, out of process beside in the program", partial(_measure, name, work))
    for name, what, work in (
        ("outside-noop", "a function without arguments, which is not run", _nothing),
        ("outside-number", "a function of one number, which is not run", _number),
    )
]
