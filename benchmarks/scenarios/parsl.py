"""The backend on Parsl beside Parsl's HighThroughputExecutor by hand."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from radical.asyncflow import WorkflowEngine

from .. import _bodies, _ours, _parsl
from .._measure import COST, contest, interleave, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

REFERENCE = "HTEX by hand"
CREWS = (4, 16)
START = "s to the first result"

Shape = Callable[[WorkflowEngine, int], Coroutine[Any, Any, Any]]


async def _bag(flow: WorkflowEngine, size: int) -> int:
    nothing = flow.function_task(_bodies.nothing)
    return len(await asyncio.gather(*[nothing() for _ in range(size)]))


async def _chain(flow: WorkflowEngine, size: int) -> int:
    (last,) = await _ours.chain(flow, size)
    return int(last)


async def _payload(flow: WorkflowEngine, size: int) -> float:
    import numpy as np

    shifted = flow.function_task(_bodies.shifted)
    array: Any = np.zeros(1_250_000)
    for _ in range(size):
        array = shifted(array)
    return float((await array)[-1])


async def _latency(flow: WorkflowEngine, size: int) -> int:
    nothing = flow.function_task(_bodies.nothing)
    for _ in range(size):
        await nothing()
    return size


def _naps(seconds: float) -> Shape:
    async def shape(flow: WorkflowEngine, size: int) -> int:
        pause = flow.function_task(_bodies.pause)
        return len(await asyncio.gather(*[pause(seconds) for _ in range(size)]))

    return shape


SHAPES: dict[str, Shape] = {
    "bag": _bag,
    "chain": _chain,
    "payload": _payload,
    "latency": _latency,
    **{name: _naps(seconds) for name, seconds in _parsl.NAPS.items()},
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
    **dict.fromkeys(_parsl.NAPS, 1.0),
}
SUMMARIES = {
    "bag": "independent tasks that do nothing",
    "chain": "each task takes the result of the one before",
    "payload": "10 MB through a chain",
    "latency": "one task after the other, each awaited",
    **{name: f"independent tasks that sleep {name}" for name in _parsl.NAPS},
}


CONTESTS = [
    *((f"parsl-{shape}", shape, _parsl.WORKERS) for shape in SHAPES if shape not in _parsl.NAPS),
    *((f"parsl-{nap}-on-{crew}", nap, crew) for nap in _parsl.NAPS for crew in CREWS),
]


def _measure(name: str, shape: str, workers: int, settings: Settings) -> Sequence[Row]:
    ours = _ours.side(SHAPES[shape], "parsl", max_workers_per_node=workers)
    sides = {OURS: ours, REFERENCE: _parsl.side(_parsl.SHAPES[shape], workers)}
    size = SIZES[shape]
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
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        began = time.perf_counter()
        htex = _parsl.executor(Path(folder))
        htex.submit(_bodies.nothing, {}).result()
        seconds = time.perf_counter() - began
        htex.scale_in(1)
        htex.shutdown()
    return {START: seconds}


def _measure_start(settings: Settings) -> Sequence[Row]:
    import parsl  # noqa: F401 - so that neither side has to import it

    samples = {OURS: _start_ours, REFERENCE: _start_by_hand}
    return rows("parsl-start", 1, interleave(samples, settings.repeat))


SCENARIOS = (
    []
    if find_spec("parsl") is None
    else [
        Scenario("parsl-start", "from nothing to the first result", _measure_start),
        *(
            Scenario(
                name,
                f"{SUMMARIES[shape]}, on {workers} workers of this machine, beside HTEX by hand",
                partial(_measure, name, shape, workers),
            )
            for name, shape, workers in CONTESTS
        ),
    ]
)
"""The scenarios; none if Parsl is not installed."""
