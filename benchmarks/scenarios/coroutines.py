"""Async functions: beside plain ones on threads, and many that wait in one loop."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from radical.asyncflow import WorkflowEngine

from .._bodies import one_more, one_more_async, one_more_later
from .._measure import agree, interleave, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

PLAIN = "def"
BY_HAND = "asyncio and a semaphore"
AT_ONCE = 1_000

Task = Callable[[Any], Awaitable[Any]]
Shape = Callable[[Task, int], Awaitable[object]]


async def _bag(task: Task, size: int) -> object:
    return await asyncio.gather(*[task(number) for number in range(size)])


async def _chain(task: Task, size: int) -> object:
    last: Any = 0
    for _ in range(size):
        last = task(last)
    return await last


async def _trips(task: Task, size: int) -> object:
    return [await task(number) for number in range(size)]


SHAPES: dict[str, tuple[Shape, int]] = {
    "bag": (_bag, 10_000),
    "chain": (_chain, 10_000),
    "trips": (_trips, 2_000),
}
KINDS = {
    "no await": (one_more_async, 1.3),
    "one sleep(0)": (one_more_later, 2.0),
}
MEASURES = "µs a task", "µs of CPU a task"


async def _timed(
    body: Callable[[int], Any], shape: Shape, size: int
) -> tuple[float, float, object]:
    async with WorkflowEngine.create("concurrent", {"max_workers": 2}) as flow:
        task = flow.function_task(body)
        await shape(task, 64)
        gc.collect()
        began, used = time.perf_counter(), time.process_time()
        result = await shape(task, size)
        return time.perf_counter() - began, time.process_time() - used, result


def _beside_plain(settings: Settings) -> Sequence[Row]:
    found: list[Row] = []
    for name, (shape, full) in SHAPES.items():
        size = settings.size(full)
        goals = {
            f"{name}, {kind}: {what}": Goal(limit, PLAIN)
            for kind, (_, limit) in KINDS.items()
            for what in MEASURES
        }
        samples = _samples(name, shape, size)
        found += rows("many-async", size, interleave(samples, settings.repeat), goals)
    return found


def _samples(name: str, shape: Shape, size: int) -> dict[str, Callable[[], dict[str, float]]]:
    results: dict[str, object] = {}

    def cost(body: Callable[[int], Any]) -> list[float]:
        *seconds, result = asyncio.run(_timed(body, shape, size))
        agree(results, body.__name__, result)
        return [value / size * 1e6 for value in seconds]

    def ours() -> dict[str, float]:
        return {
            f"{name}, {kind}: {what}": value
            for kind, (body, _) in KINDS.items()
            for what, value in zip(MEASURES, cost(body), strict=True)
        }

    def plain() -> dict[str, float]:
        values = cost(one_more)
        return {
            f"{name}, {kind}: {what}": value
            for kind in KINDS
            for what, value in zip(MEASURES, values, strict=True)
        }

    return {OURS: ours, PLAIN: plain}


async def _nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def _naps(size: int, at_once: int, seconds: float) -> tuple[float, object]:
    config = {"executor_type": "async", "max_workers": at_once}
    async with WorkflowEngine.create("concurrent", config) as flow:
        task = flow.function_task(_nap)
        await asyncio.gather(*[task(0.0) for _ in range(64)])
        gc.collect()
        began = time.perf_counter()
        result = await asyncio.gather(*[task(seconds) for _ in range(size)])
        return time.perf_counter() - began, sum(result)


async def _naps_by_hand(size: int, at_once: int, seconds: float) -> tuple[float, object]:
    places = asyncio.Semaphore(at_once)

    async def one() -> float:
        async with places:
            return await _nap(seconds)

    began = time.perf_counter()
    result = await asyncio.gather(*[one() for _ in range(size)])
    return time.perf_counter() - began, sum(result)


def _waiting(settings: Settings) -> Sequence[Row]:
    size, at_once, seconds = (1_000, 100, 0.1) if settings.quick else (10_000, AT_ONCE, 1.0)
    results: dict[str, object] = {}
    figure = "s in all"

    def sampler(side: str, measure: Callable[..., Any]) -> Callable[[], dict[str, float]]:
        def sample() -> dict[str, float]:
            took, result = asyncio.run(measure(size, at_once, seconds))
            agree(results, side, result)
            return {figure: took}

        return sample

    samples = {OURS: sampler(OURS, _naps), BY_HAND: sampler(BY_HAND, _naps_by_hand)}
    goals = {} if settings.quick else {figure: Goal(10.5, None)}
    return rows("many-async-naps", size, interleave(samples, settings.repeat), goals)


SCENARIOS = [
    Scenario("many-async", "async functions on 2 threads, beside plain functions", _beside_plain),
    Scenario(
        "many-async-naps", f"async functions that sleep for 1 s, {AT_ONCE:,} at once", _waiting
    ),
]
