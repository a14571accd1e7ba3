"""The backend on Parsl beside Parsl's HighThroughputExecutor by hand."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

from radical.asyncflow import WorkflowEngine

from .. import _bodies, _parsl
from .._measure import COST, Run, Side, contest, interleave, limited, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

REFERENCE = "HTEX by hand"
NAPS = {"1ms": 0.001, "10ms": 0.01, "100ms": 0.1}
CREWS = (4, 16)
START = "s to the first result"
ADDS = "s more than by hand"
MOST_MORE_S = 0.5

Call = Callable[..., Awaitable[Any]]
"""A call of a function on a worker; an argument may be what such a call has returned."""
Shape = Callable[[Call, int], Coroutine[Any, Any, Any]]


async def _bag(call: Call, size: int) -> int:
    return len(await asyncio.gather(*[call(_bodies.nothing) for _ in range(size)]))


async def _chain(call: Call, size: int) -> int:
    last: Any = 0
    for _ in range(size):
        last = call(_bodies.one_more, last)
    return int(await last)


async def _payload(call: Call, size: int) -> float:
    import numpy as np

    array: Any = np.zeros(1_250_000)
    for _ in range(size):
        array = call(_bodies.shifted, array)
    return float((await array)[-1])


async def _latency(call: Call, size: int) -> int:
    for _ in range(size):
        await call(_bodies.nothing)
    return size


def _naps(seconds: float) -> Shape:
    async def shape(call: Call, size: int) -> int:
        return len(await asyncio.gather(*[call(_bodies.pause, seconds) for _ in range(size)]))

    return shape


SHAPES: dict[str, Shape] = {
    "bag": _bag,
    "chain": _chain,
    "payload": _payload,
    "latency": _latency,
    **{name: _naps(seconds) for name, seconds in NAPS.items()},
}
SIZES = {
    "bag": 10_000,
    "chain": 500,
    "payload": 20,
    "latency": 200,
    "1ms": 4_000,
    "10ms": 1_600,
    "100ms": 160,
}
GOALS = {
    "bag": 0.05,
    "chain": 0.3,
    "payload": 0.5,
    "latency": 1.1,
    **dict.fromkeys(NAPS, 1.0),
}
SUMMARIES = {
    "bag": "independent tasks that do nothing",
    "chain": "each task takes the result of the one before",
    "payload": "10 MB through a chain",
    "latency": "one task after the other, each awaited",
    **{name: f"independent tasks that sleep {name}" for name in NAPS},
}


CONTESTS = [
    *((f"parsl-{shape}", shape, _parsl.WORKERS) for shape in SHAPES if shape not in NAPS),
    *((f"parsl-{nap}-on-{crew}", nap, crew) for nap in NAPS for crew in CREWS),
]


def _ours(shape: Shape, workers: int) -> Side:
    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        config = {"max_workers_per_node": workers}
        async with WorkflowEngine.create("parsl", config=config) as flow:
            task = functools.cache(flow.function_task)

            async def run(size: int) -> object:
                return await shape(lambda function, *args: task(function)(*args), size)

            yield run

    return open_side


def _by_hand(shape: Shape, workers: int) -> Side:
    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        with _parsl.executor(workers) as htex:

            async def run(size: int) -> object:
                return await shape(_parsl.calls(htex), size)

            yield run

    return open_side


def _measure(name: str, shape: str, workers: int, settings: Settings) -> Sequence[Row]:
    sides = {OURS: _ours(SHAPES[shape], workers), REFERENCE: _by_hand(SHAPES[shape], workers)}
    size = settings.size(SIZES[shape])
    goal = Goal(GOALS[shape], REFERENCE)
    series = contest(sides, size, settings.repeat)
    return rows(name, size, series, {COST: goal})


def _start_ours() -> dict[str, float]:
    async def run() -> float:
        began = time.perf_counter()
        config = {"max_workers_per_node": _parsl.WORKERS}
        async with WorkflowEngine.create("parsl", config=config) as flow:
            await flow.function_task(_bodies.nothing)()
            return time.perf_counter() - began

    return {START: asyncio.run(run())}


def _start_by_hand() -> dict[str, float]:
    async def run() -> float:
        began = time.perf_counter()
        with _parsl.executor() as htex:
            async with limited(REFERENCE):
                await _parsl.calls(htex)(_bodies.nothing)
            return time.perf_counter() - began

    return {START: asyncio.run(run())}


def _measure_start(settings: Settings) -> Sequence[Row]:
    import parsl  # noqa: F401 - so that neither side has to import it

    samples = {OURS: _start_ours, REFERENCE: _start_by_hand}
    series = interleave(samples, settings.repeat)
    pairs = zip(series[START][OURS], series[START][REFERENCE], strict=True)
    series[ADDS] = {OURS: [ours - reference for ours, reference in pairs]}
    return rows("parsl-start", 1, series, {ADDS: Goal(MOST_MORE_S, None)})


SCENARIOS = (
    []
    if find_spec("parsl") is None
    else [
        Scenario("parsl-start", "from nothing to the first result", _measure_start),
        *(
            Scenario(
                name,
                f"{SUMMARIES[shape]}, on {workers} workers of this machine, beside HTEX by hand",
                functools.partial(_measure, name, shape, workers),
            )
            for name, shape, workers in CONTESTS
        ),
    ]
)
"""The scenarios; none if Parsl is not installed."""
