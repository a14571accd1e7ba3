"""Calls of a service whose state stays in another process, beside a loop on a pipe by hand.

And on a node of a block of Parsl, beside calls of a function there, and beside those of a service
in a process that the program has started itself.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any

from radical.asyncflow import WorkflowEngine

from .. import _bodies
from .._bodies import Counter
from .._measure import agree, interleave, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

CALLS = 2_000
BY_HAND = "Pipe by hand"
RAY = "Ray actor"
IN_PROCESS = "ours in a process"
MEDIAN = "µs a call, median"
GOALS = {MEDIAN: Goal(300, None)}
FUNCTION = "a function there"
NODE_GOALS = {MEDIAN: Goal(1, FUNCTION)}
CONCURRENT = "concurrent", {"executor_type": "process", "max_workers": 2}
PARSL = "parsl", {"max_workers_per_node": 2}

Sample = tuple[list[float], int]


async def _with_service(size: int, backend: str, config: dict[str, Any]) -> Sample:
    async with WorkflowEngine.create(backend, config) as flow:
        counter = flow.service(Counter)()
        await counter
        gc.collect()
        times, total = [], 0
        for _ in range(size):
            begun = time.perf_counter()
            total = await counter.add(1)
            times.append(time.perf_counter() - begun)
        return times, total


async def _with_function(size: int, backend: str, config: dict[str, Any]) -> Sample:
    """Call a function that adds to a number, which the program keeps."""
    async with WorkflowEngine.create(backend, config) as flow:
        one_more = flow.function_task(_bodies.one_more)
        await one_more(0)
        gc.collect()
        times, total = [], 0
        for _ in range(size):
            begun = time.perf_counter()
            total = await one_more(total)
            times.append(time.perf_counter() - begun)
        return times, total


def _serve(connection: Connection[Any, Any]) -> None:
    counter = Counter()
    while (call := connection.recv()) is not None:
        name, args = call
        connection.send(getattr(counter, name)(*args))


def _by_hand(size: int) -> Sample:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,))
    process.start()
    try:
        ours.send(("add", (0,)))
        ours.recv()
        gc.collect()
        times, total = [], 0
        for _ in range(size):
            begun = time.perf_counter()
            ours.send(("add", (1,)))
            total = ours.recv()
            times.append(time.perf_counter() - begun)
        ours.send(None)
        return times, total
    finally:
        process.join()
        ours.close()
        theirs.close()


async def _with_ray(size: int) -> Sample:
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    actor = ray.remote(Counter).remote()
    await actor.add.remote(0)
    gc.collect()
    times, total = [], 0
    for _ in range(size):
        begun = time.perf_counter()
        total = await actor.add.remote(1)
        times.append(time.perf_counter() - begun)
    ray.kill(actor)
    return times, total


def _compare(
    name: str,
    sides: dict[str, Callable[[int], Sample]],
    goals: dict[str, Goal],
    settings: Settings,
) -> Sequence[Row]:
    size = settings.size(CALLS)
    results: dict[str, object] = {}

    def sampler(side: str, run: Callable[[int], Sample]) -> Callable[[], dict[str, float]]:
        def sample() -> dict[str, float]:
            times, total = run(size)
            agree(results, side, total)
            return {MEDIAN: statistics.median(times) * 1e6}

        return sample

    samples = {side: sampler(side, run) for side, run in sides.items()}
    return rows(name, size, interleave(samples, settings.repeat), goals)


def _measure(settings: Settings) -> Sequence[Row]:
    sides: dict[str, Callable[[int], Sample]] = {
        OURS: lambda size: asyncio.run(_with_service(size, *CONCURRENT)),
        BY_HAND: _by_hand,
    }
    if find_spec("ray"):
        sides[RAY] = lambda size: asyncio.run(_with_ray(size))
    return _compare("service-calls", sides, GOALS, settings)


def _measure_on_a_node(settings: Settings) -> Sequence[Row]:
    sides: dict[str, Callable[[int], Sample]] = {
        OURS: lambda size: asyncio.run(_with_service(size, *PARSL)),
        FUNCTION: lambda size: asyncio.run(_with_function(size, *PARSL)),
        IN_PROCESS: lambda size: asyncio.run(_with_service(size, *CONCURRENT)),
    }
    return _compare("parsl-service-calls", sides, NODE_GOALS, settings)


SCENARIOS = [
    Scenario(
        "service-calls",
        "Awaited calls of a service in a process, one after the other, beside a loop on a pipe",
        _measure,
    )
]
if find_spec("parsl"):
    SCENARIOS.append(
        Scenario(
            "parsl-service-calls",
            "Awaited calls of a service on a node that is this machine, beside those of a function",
            _measure_on_a_node,
        )
    )
