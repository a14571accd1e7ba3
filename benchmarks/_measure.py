"""Measure several sides of one piece of work so that they can be compared.

The sides take turns (A B A B ...), so a noisy neighbour disturbs all of them.  The garbage
collector runs before each turn and stays on for all sides.  The preparation of a sample, such
as the start of workers and a small run to warm them up, is not measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from ._model import OURS, Goal, Row

__all__ = [
    "ADDED",
    "COST",
    "CPU",
    "LIMIT_S",
    "WARM_UP_TASKS",
    "Run",
    "Series",
    "Side",
    "add_differences",
    "contest",
    "fresh",
    "interleave",
    "limited",
    "rows",
    "timed",
]

Run = Callable[[int], Awaitable[object]]
"""A function that does the work for that many tasks; all sides must return an equal result."""

Side = Callable[[], AbstractAsyncContextManager[Run]]
"""A function that sets up one side of a contest."""

Series = dict[str, dict[str, list[float]]]
"""The values of all rounds, ``{figure: {side: [value of each round]}}``."""

ROOT = Path(__file__).parent.parent
WARM_UP_TASKS = 64
"""The number of tasks in the small run before a sample."""

LIMIT_S = 600.0
"""The most seconds for a sample; some engines would wait for ever for a result that is lost."""

COST = "µs a task"
CPU = "µs of CPU a task"
ADDED = {COST: "µs that it adds", CPU: "µs of CPU that it adds"}
"""The names of the differences; on a busy machine that of processor time is more reliable."""


def interleave(samples: Mapping[str, Callable[[], Mapping[str, float]]], repeat: int) -> Series:
    """Run *repeat* rounds of all sides in turn; each sample returns its figures by name."""
    series: Series = {}
    for _ in range(repeat):
        for side, sample in samples.items():
            for figure, value in sample().items():
                series.setdefault(figure, {}).setdefault(side, []).append(value)
    return series


def add_differences(series: Series, reference: str, side: str = OURS) -> list[str]:
    """Add to *series* by how much the costs of *side* are above those of *reference*.

    Returns:
        The names of the figures that were added.
    """
    for figure, adds in ADDED.items():
        pairs = zip(series[figure][side], series[figure][reference], strict=True)
        series.setdefault(adds, {})[side] = [on - off for on, off in pairs]
    return [*ADDED.values()]


def contest(
    sides: Mapping[str, Side], size: int, repeat: int, *, processor: bool = False
) -> Series:
    """Measure the cost of a task for each of *sides*, in this process.

    Args:
        processor: True to measure also the processor time of all threads of this process.

    Raises:
        ValueError: two sides returned different results.
    """
    results: dict[str, object] = {}

    def sampler(name: str, side: Side) -> Callable[[], dict[str, float]]:
        def sample() -> dict[str, float]:
            seconds, busy, result = asyncio.run(timed(name, side, size))
            agree(results, name, result)
            figures = {COST: seconds / size * 1e6}
            return {**figures, CPU: busy / size * 1e6} if processor else figures

        return sample

    return interleave({name: sampler(name, side) for name, side in sides.items()}, repeat)


def agree(results: dict[str, object], name: str, result: object) -> None:
    """Record the *result* of the side *name*, which must equal those of the others.

    Raises:
        ValueError: it differs from another one.
    """
    for other, known in results.items():
        if known != result:
            raise ValueError(f"{name} and {other} did not do the same work")
    results[name] = result


@asynccontextmanager
async def limited(side: str) -> AsyncIterator[None]:
    """End what is done in the block when that takes too long.

    Raises:
        RuntimeError: it did; the text names *side*.
    """
    try:
        async with asyncio.timeout(LIMIT_S):
            yield
    except TimeoutError as error:
        raise RuntimeError(f"{side}: not all results were there within {LIMIT_S:g} s") from error


async def timed(name: str, side: Side, size: int) -> tuple[float, float, object]:
    """Return the seconds, the processor time and the result of *side*, which has that *name*."""
    async with side() as run, limited(name):
        await run(min(size, WARM_UP_TASKS))
        gc.collect()
        began, used = time.perf_counter(), time.process_time()
        result = await run(size)
        return time.perf_counter() - began, time.process_time() - used, result


def fresh(function: str, **arguments: Any) -> dict[str, float]:
    """Return the figures of ``benchmarks.module:function``, run in a new interpreter."""
    command = [sys.executable, "-m", "benchmarks._fresh", function, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def rows(
    scenario: str, size: int, series: Series, goals: Mapping[str, Goal] | None = None
) -> list[Row]:
    """Return a row for each figure of *series*; *goals* are by figure."""
    return [
        Row(
            scenario,
            size,
            figure,
            {side: statistics.median(values) for side, values in sides.items()},
            ratios(sides),
            (goals or {}).get(figure),
        )
        for figure, sides in series.items()
    ]


def ratios(sides: Mapping[str, list[float]]) -> dict[str, float]:
    """Return ``{reference: median of ours / reference in the same round}``."""
    return {
        side: statistics.median(
            ours / value for ours, value in zip(sides[OURS], values, strict=True)
        )
        for side, values in sides.items()
        if side != OURS and all(values)
    }
