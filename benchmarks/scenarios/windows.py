"""``flow.map`` beside a window by hand over the same calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from radical.asyncflow import WorkflowEngine

from .. import _bodies
from .._measure import COST, Run, Side, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

LIMIT = 1_000
BACKENDS: Mapping[str, tuple[str, dict[str, Any], int]] = {
    "noop": ("noop", {}, 100_000),
    "threads": ("concurrent", {"max_workers": 2}, 20_000),
}
"""The backends by name, each with its settings and the number of tasks."""

BY_HAND = "a window by hand"


async def _mapped(flow: WorkflowEngine, size: int) -> int:
    task = flow.function_task(_bodies.one_more)
    count = 0
    async for _ in flow.map(task, range(size), limit=LIMIT):
        count += 1
    return count


async def _by_hand(flow: WorkflowEngine, size: int) -> int:
    task = flow.function_task(_bodies.one_more)
    window: deque[asyncio.Future[int]] = deque()
    count = 0
    for number in range(size):
        if len(window) == LIMIT:
            await window.popleft()
            count += 1
        window.append(task(number))
    while window:
        await window.popleft()
        count += 1
    return count


def _side(
    work: Callable[[WorkflowEngine, int], Coroutine[Any, Any, int]],
    backend: str,
    config: dict[str, Any],
) -> Side:
    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        async with WorkflowEngine.create(backend=backend, config=config or None) as flow:
            yield lambda size: work(flow, size)

    return open_side


def _measure(settings: Settings) -> Sequence[Row]:
    found: list[Row] = []
    for name, (backend, config, full) in BACKENDS.items():
        sides = {
            OURS: _side(_mapped, backend, config),
            BY_HAND: _side(_by_hand, backend, config),
        }
        size = settings.size(full)
        goals = {COST: Goal(1.1, BY_HAND)}
        found += rows(f"map-window, {name}", size, contest(sides, size, settings.repeat), goals)
    return found


SCENARIOS = [
    Scenario("map-window", f"flow.map with {LIMIT:,} tasks alive, beside {BY_HAND}", _measure)
]
