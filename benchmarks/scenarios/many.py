"""Many slots: tasks that sleep, on 16 workers, beside an executor by hand.

A task that sleeps needs no core, so these figures show whether a worker waits for the program.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

from radical.asyncflow import WorkflowEngine

from .._bodies import nap
from .._measure import Series, interleave, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

WORKERS = 16
REFERENCE = "run_in_executor"
PAUSES_MS = (1, 10, 30, 100)
ROUND_S = 1.0
"""The time of a round if none was lost."""

MEDIANS_MS = (2, 10, 30)
SIGMA = 1.0
BOUND = "list scheduling"

POOLS: dict[str, Callable[[int], Executor]] = {
    "thread": ThreadPoolExecutor,
    "process": ProcessPoolExecutor,
}

Times = list[float]
"""Seconds that each of some tasks is to sleep, or that each of them took."""
Batch = Callable[[Times], Awaitable[Times]]
"""A function that runs a task for each number and returns what each of them took."""


async def _ours(
    kind: str, work: Callable[[Batch], Awaitable[dict[str, float]]]
) -> dict[str, float]:
    config = {"max_workers": WORKERS, "executor_type": kind}
    async with WorkflowEngine.create(backend="concurrent", config=config) as flow:
        task = flow.function_task(nap)

        async def batch(times: Times) -> Times:
            return await asyncio.gather(*[task(seconds) for seconds in times])

        return await work(batch)


async def _by_hand(
    kind: str, work: Callable[[Batch], Awaitable[dict[str, float]]]
) -> dict[str, float]:
    with POOLS[kind](WORKERS) as pool:
        run = asyncio.get_running_loop().run_in_executor

        async def batch(times: Times) -> Times:
            return await asyncio.gather(*[run(pool, nap, seconds) for seconds in times])

        return await work(batch)


SIDES = {OURS: _ours, REFERENCE: _by_hand}


async def _timed(batch: Batch, times: Times) -> tuple[float, Times]:
    await batch([0.02] * (2 * WORKERS))  # all workers are up
    gc.collect()
    began = time.perf_counter()
    took = await batch(times)
    return time.perf_counter() - began, took


def _contest(
    kind: str, work: Callable[[Batch], Awaitable[dict[str, float]]], repeat: int
) -> Series:
    return interleave(
        {
            name: partial(lambda side: asyncio.run(side(kind, work)), side)
            for name, side in SIDES.items()
        },
        repeat,
    )


def _even(kind: str, settings: Settings) -> Sequence[Row]:
    found: list[Row] = []
    for pause in PAUSES_MS:
        seconds = pause / 1e3
        size = settings.size(round(ROUND_S / seconds) * WORKERS)
        figure = f"efficiency at {pause} ms"

        async def work(
            batch: Batch, seconds: float = seconds, size: int = size, figure: str = figure
        ) -> dict[str, float]:
            total, _ = await _timed(batch, [seconds] * size)
            return {figure: size * seconds / WORKERS / total}

        goal = {figure: Goal(1.0, REFERENCE, least=True)}
        found += rows(f"many-{_plural(kind)}", size, _contest(kind, work, settings.repeat), goal)
    return found


def _uneven(settings: Settings) -> Sequence[Row]:
    found: list[Row] = []
    for kind in POOLS:
        for median in MEDIANS_MS:
            dice = random.Random(median)
            size = settings.size(round(ROUND_S / median * 1e3 / 1.65) * WORKERS)
            times = [median / 1e3 * dice.lognormvariate(0, SIGMA) for _ in range(size)]
            figure = f"makespan on {_plural(kind)} / {BOUND}, median {median} ms"

            async def work(
                batch: Batch, times: Times = times, figure: str = figure
            ) -> dict[str, float]:
                total, took = await _timed(batch, times)
                return {figure: total / list_scheduling(took, WORKERS)}

            series = _contest(kind, work, settings.repeat)
            found += rows("many-uneven", size, series, {figure: Goal(1.05, None)})
    return found


def list_scheduling(times: Times, workers: int) -> float:
    """Return when the last of the tasks ends, if each begins as soon as a worker is free.

    *times* are what the tasks took, which on a busy machine is more than they slept.
    """
    free = [0.0] * workers
    for seconds in times:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def _plural(kind: str) -> str:
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


SCENARIOS = [
    *(
        Scenario(
            f"many-{_plural(kind)}",
            f"{PAUSES_MS[0]} to {PAUSES_MS[-1]} ms of sleep on {WORKERS} {_plural(kind)}; "
            "1.0 is ideal",
            partial(_even, kind),
        )
        for kind in ("process", "thread")
    ),
    Scenario(
        "many-uneven",
        f"log-normal sleeps on {WORKERS} workers, as a multiple of {BOUND}",
        _uneven,
    ),
]
