"""Short trainings on a GPU, beside warm processes that nobody but them uses.

Where no GPU is found, a scenario says so and has no figures.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from radical.asyncflow import WorkflowEngine
from radical.asyncflow.worker import found_gpus, set_visible_gpus

from .._gpu import library, train
from .._measure import COST, Run, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

REFERENCE = "ProcessPoolExecutor"
WORKERS = 4
TRAININGS = 16
STEPS = 50


@asynccontextmanager
async def _ours(gpus: float) -> AsyncIterator[Run]:
    # The reference has one GPU, too.
    config = {"executor_type": "process", "max_workers": WORKERS, "gpus": 1}
    async with WorkflowEngine.create("concurrent", config=config) as flow:
        task = flow.function_task(resources={"gpus": gpus})(train)

        async def run(size: int) -> list[int]:
            return await asyncio.gather(*[task(STEPS) for _ in range(size)])

        yield run


@asynccontextmanager
async def _reference(processes: int) -> AsyncIterator[Run]:
    found = found_gpus()
    see = partial(set_visible_gpus, found.ids[:1], None, found.variable)
    # Its processes are as fresh as ours are.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=fresh, initializer=see) as pool:
        loop = asyncio.get_running_loop()

        async def run(size: int) -> list[int]:
            calls = [loop.run_in_executor(pool, train, STEPS) for _ in range(size)]
            return list(await asyncio.gather(*calls))

        yield run


def _measure(name: str, gpus: float, settings: Settings) -> Sequence[Row]:
    found = found_gpus()
    if not found.ids:
        print(f"no GPU ({found.how.removeprefix('none: ')})", file=sys.stderr)
        return []
    print(f"trainings by {library()} on {found.how}", file=sys.stderr)
    sides = {OURS: partial(_ours, gpus), REFERENCE: partial(_reference, int(1 / gpus))}
    size = settings.size(TRAININGS, TRAININGS)
    series = contest(sides, size, min(settings.repeat, 3))
    return rows(name, size, series, {COST: Goal(1.25, REFERENCE)})


def _scenario(name: str, gpus: float, what: str) -> Scenario:
    summary = f"{TRAININGS} short trainings {what}, beside warm processes of {REFERENCE}"
    return Scenario(name, summary, partial(_measure, name, gpus))


SCENARIOS = [
    _scenario("gpu-whole", 1, "with gpus=1 after a warm one"),
    _scenario("gpu-parts", 0.25, "with gpus=0.25, four at a time on one GPU"),
]
