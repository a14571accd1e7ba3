"""Many Dask workers that tasks of some milliseconds keep busy, beside Dask by hand."""

from __future__ import annotations

import asyncio
import gc
import heapq
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from math import inf
from typing import Any, NamedTuple

from radical.asyncflow import WorkflowEngine

from .._bodies import one_more
from .._measure import interleave, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

REFERENCE = "Dask by hand"
WITHOUT_QUEUE = "the same with worker-saturation inf"
WORKERS = (4, 16)
SIGMA = 1.0

Body = Callable[[float], float]
Batch = Callable[[Callable[..., Any], Sequence[Any]], Awaitable[Sequence[Any]]]
"""A function that calls another for each of these arguments, and returns the results."""


class Case(NamedTuple):
    """Tasks of one kind.

    Attributes:
        durations: the seconds of each task.
        spins: whether they use a core each; otherwise they sleep.
    """

    durations: Sequence[float]
    spins: bool = False


def bound(durations: Sequence[float], slots: int) -> float:
    """Return the seconds that list scheduling takes: each task goes to the first free slot."""
    free = [0.0] * slots
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def _body(*, spins: bool) -> Body:
    """Return a function that no side has called before, so that none knows how long it takes."""

    def sleep(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def spin(seconds: float) -> float:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return seconds

    return spin if spins else sleep


def _cases(slots: int, settings: Settings) -> dict[str, Case]:
    def equal(milliseconds: int, per_slot: int, *, spins: bool = False) -> Case:
        return Case([milliseconds / 1e3] * (slots * settings.size(per_slot)), spins)

    dice = random.Random(slots)
    uneven = [0.01 * dice.lognormvariate(0, SIGMA) for _ in range(slots * settings.size(50))]
    cases = {
        f"efficiency, sleep 1 ms, {slots} workers": equal(1, 200),
        f"efficiency, sleep 10 ms, {slots} workers": equal(10, 50),
        f"efficiency, sleep 100 ms, {slots} workers": equal(100, 10),
        f"list-scheduling bound / time, uneven, {slots} workers": Case(uneven),
    }
    if len(os.sched_getaffinity(0)) >= slots:
        cases[f"efficiency, spin 10 ms, {slots} workers"] = equal(10, 50, spins=True)
    return cases


@asynccontextmanager
async def _ours(workers: int) -> AsyncIterator[Batch]:
    config = {"n_workers": workers, "dashboard_address": None, "startup_timeout": 600}
    async with WorkflowEngine.create(backend="dask", config=config) as flow:

        async def batch(body: Callable[..., Any], arguments: Sequence[Any]) -> Sequence[Any]:
            task = flow.function_task(body)
            return await asyncio.gather(*[task(argument) for argument in arguments])

        yield batch


@asynccontextmanager
async def _by_hand(workers: int, saturation: float | None = None) -> AsyncIterator[Batch]:
    import dask
    from distributed import Client, LocalCluster

    options = {} if saturation is None else {"distributed.scheduler.worker-saturation": saturation}
    with dask.config.set(options):
        async with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                dashboard_address=":0",
                asynchronous=True,
            ) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):

            async def batch(body: Callable[..., Any], arguments: Sequence[Any]) -> Sequence[Any]:
                results: Sequence[Any] = await client.gather(
                    client.map(body, arguments, pure=False)
                )
                return results

            yield batch


SIDES: dict[str, Callable[[int], Any]] = {
    OURS: _ours,
    REFERENCE: _by_hand,
    WITHOUT_QUEUE: partial(_by_hand, saturation=inf),
}


async def _efficiencies(side: str, slots: int, cases: Mapping[str, Case]) -> dict[str, float]:
    figures = {}
    async with SIDES[side](slots) as batch:
        await batch(one_more, range(4 * slots))
        for name, case in cases.items():
            body = _body(spins=case.spins)
            gc.collect()
            began = time.perf_counter()
            result = await batch(body, case.durations)
            seconds = time.perf_counter() - began
            if list(result) != case.durations:
                raise ValueError(f"{side} did not do all the work")
            figures[name] = bound(case.durations, slots) / seconds
    return figures


def _sample(side: str, slots: int, cases: Mapping[str, Case]) -> dict[str, float]:
    return asyncio.run(_efficiencies(side, slots, cases))


def _measure(settings: Settings) -> Sequence[Row]:
    found: list[Row] = []
    for slots in WORKERS:
        cases = _cases(slots, settings)
        samples = {side: partial(_sample, side, slots, cases) for side in SIDES}
        goals = {
            name: Goal(1 / 1.05, None, least=True)
            if "uneven" in name
            else Goal(1.0, REFERENCE, least=True)
            for name in cases
        }
        series = interleave(samples, settings.repeat)
        for name, case in cases.items():
            found += rows("many-dask", len(case.durations), {name: series[name]}, goals)
    return found


SCENARIOS = [
    Scenario(
        name,
        "tasks of 1 to 100 ms, equal and uneven, on 4 and 16 Dask workers; 1.0 is ideal",
        _measure,
    )
    for name in ["many-dask"]
    if find_spec("distributed") is not None
]
"""The scenario; none if Dask is not installed."""
