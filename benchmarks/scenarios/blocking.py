"""A program without asyncio: `radical.asyncflow.sync` beside an executor of the library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from radical.asyncflow.sync import Flow

from .. import _bodies
from .._measure import COST, Run, Side, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

BY_HAND = "ThreadPoolExecutor"
WORKERS = 2
BACKENDS: Mapping[str, dict[str, Any]] = {"noop": {}, "concurrent": {"max_workers": WORKERS}}


def _bag(submit: Callable[[int], Future[Any]]) -> Run:
    async def run(size: int) -> object:
        futures = [submit(number) for number in range(size)]
        return len([future.result() for future in futures])

    return run


def _ours(backend: str, config: dict[str, Any]) -> Side:
    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        with Flow(backend, config or None) as flow:
            yield _bag(flow.function_task(_bodies.one_more))

    return open_side


@asynccontextmanager
async def _by_hand() -> AsyncIterator[Run]:
    with ThreadPoolExecutor(WORKERS) as pool:
        yield _bag(lambda number: pool.submit(_bodies.one_more, number))


def _measure(settings: Settings) -> Sequence[Row]:
    size = settings.size(10_000)
    found: list[Row] = []
    for backend, config in BACKENDS.items():
        sides: dict[str, Side] = {OURS: _ours(backend, config), BY_HAND: _by_hand}
        series = contest(sides, size, settings.repeat, processor=True)
        found += rows(f"sync-bag, {backend}", size, series, {COST: Goal(25.0, None)})
    return found


SCENARIOS = (
    Scenario("sync-bag", "calls and results of a program without an event loop", _measure),
)
