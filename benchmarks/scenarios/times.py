"""What a user waits for: large payloads, one round trip, the whole of a batch."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy
from radical.asyncflow import WorkflowEngine

from .._bodies import one_more, pause, shifted
from .._measure import agree, interleave, rows
from .._model import OURS, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

REFERENCE = "run_in_executor"
MEGABYTES = 10
SLOTS = 8
SECONDS = 0.010

Caller = Callable[..., Awaitable[Any]]
"""Calls a function on a worker: ``call(function, *arguments)``."""


@asynccontextmanager
async def _ours(kind: str, workers: int) -> AsyncIterator[Caller]:
    config = {"max_workers": workers, "executor_type": kind}
    async with WorkflowEngine.create(backend="concurrent", config=config) as flow:
        tasks = {body: flow.function_task(body) for body in (one_more, pause, shifted)}

        def call(body: Callable[..., Any], *args: Any) -> Awaitable[Any]:
            return tasks[body](*args)

        yield call


@asynccontextmanager
async def _reference(kind: str, workers: int) -> AsyncIterator[Caller]:
    make: Callable[[int], Executor]
    make = ThreadPoolExecutor if kind == "thread" else ProcessPoolExecutor
    with make(workers) as pool:
        yield partial(asyncio.get_running_loop().run_in_executor, pool)


SIDES = {OURS: _ours, REFERENCE: _reference}

Work = Callable[[Caller, int], Awaitable[tuple[object, dict[str, float]]]]


def _contest(
    name: str, size: int, settings: Settings, kind: str, workers: int, work: Work
) -> Sequence[Row]:
    results: dict[str, object] = {}

    async def once(side: str) -> dict[str, float]:
        async with SIDES[side](kind, workers) as call:
            await asyncio.gather(*[call(one_more, number) for number in range(4 * workers)])
            gc.collect()
            result, figures = await work(call, size)
        agree(results, side, result)
        return figures

    samples = {side: partial(_run, once, side) for side in SIDES}
    return rows(name, size, interleave(samples, settings.repeat))


def _run(
    once: Callable[[str], Coroutine[Any, Any, dict[str, float]]], side: str
) -> dict[str, float]:
    return asyncio.run(once(side))


async def _links(call: Caller, size: int) -> tuple[object, dict[str, float]]:
    array = numpy.zeros(MEGABYTES * 125_000)
    began = time.perf_counter()
    for _ in range(size):
        array = await call(shifted, array)
    seconds = time.perf_counter() - began
    return (float(array[0]), float(array[-1])), {"ms a link": seconds / size * 1e3}


async def _trips(call: Caller, size: int) -> tuple[object, dict[str, float]]:
    results, times = [], []
    for number in range(size):
        began = time.perf_counter()
        results.append(await call(one_more, number))
        times.append(time.perf_counter() - began)
    cuts = statistics.quantiles(times, n=100)
    return results, {"µs, median": cuts[49] * 1e6, "µs, 99th percentile": cuts[98] * 1e6}


async def _batch(call: Caller, size: int) -> tuple[object, dict[str, float]]:
    began = time.perf_counter()
    results = await asyncio.gather(*[call(pause, SECONDS) for _ in range(size)])
    seconds = time.perf_counter() - began
    return results, {"efficiency": size * SECONDS / SLOTS / seconds}


SCENARIOS = [
    Scenario(
        "payload",
        f"an array of {MEGABYTES} MB from process to process, link by link",
        lambda settings: _contest("payload", settings.size(20), settings, "process", 2, _links),
    ),
    Scenario(
        "latency",
        "one call at a time on a thread, awaited before the next",
        lambda settings: _contest("latency", settings.size(2_000), settings, "thread", 2, _trips),
    ),
    Scenario(
        "makespan",
        f"{SECONDS * 1e3:.0f} ms of work each on {SLOTS} threads; 1.0 is ideal",
        lambda settings: _contest("makespan", 200, settings, "thread", SLOTS, _batch),
    ),
]
