"""The times that a user waits for: large payloads, one round trip, a whole batch."""

from __future__ import annotations

import asyncio
import gc
import statistics
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any

import numpy
from radical.asyncflow import WorkflowEngine

from .._bodies import one_more, pause, shifted
from .._measure import agree, interleave, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

REFERENCE = "run_in_executor"
PAYLOAD_MB = 10
SLOTS = (2, 4, 8, 16)
PAUSE_S = 0.010

Caller = Callable[..., Awaitable[Any]]
"""A function that calls another on a worker, as in ``call(function, *arguments)``."""


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


@asynccontextmanager
async def _bare(kind: str, workers: int) -> AsyncIterator[Caller]:  # noqa: ARG001
    """Call functions in one thread behind a queue: the cost of changing threads twice."""
    loop = asyncio.get_running_loop()
    calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()

    def serve() -> None:
        while (item := calls.get()) is not None:
            future, body = item
            loop.call_soon_threadsafe(future.set_result, body())

    def call(body: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        future = loop.create_future()
        calls.put((future, partial(body, *args)))
        return future

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield call
    finally:
        calls.put(None)
        thread.join()


SIDES = {OURS: _ours, REFERENCE: _reference}

Work = Callable[[Caller, int], Awaitable[tuple[object, dict[str, float]]]]


def _contest(
    name: str,
    size: int,
    settings: Settings,
    kind: str,
    workers: int,
    work: Work,
    goals: Mapping[str, Goal],
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Sequence[Row]:
    sides = {**SIDES, **more}
    results: dict[str, object] = {}

    async def once(side: str) -> dict[str, float]:
        async with sides[side](kind, workers) as call:
            await asyncio.gather(*[call(one_more, number) for number in range(4 * workers)])
            gc.collect()
            result, figures = await work(call, size)
        agree(results, side, result)
        return figures

    samples = {side: partial(_run, once, side) for side in sides}
    return rows(name, size, interleave(samples, settings.repeat), goals)


def _run(
    once: Callable[[str], Coroutine[Any, Any, dict[str, float]]], side: str
) -> dict[str, float]:
    return asyncio.run(once(side))


async def _links(call: Caller, size: int) -> tuple[object, dict[str, float]]:
    array = numpy.zeros(PAYLOAD_MB * 125_000)
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


async def _batch(slots: int, call: Caller, size: int) -> tuple[object, dict[str, float]]:
    began = time.perf_counter()
    results = await asyncio.gather(*[call(pause, PAUSE_S) for _ in range(size)])
    seconds = time.perf_counter() - began
    return results, {f"efficiency on {slots} slots": size * PAUSE_S / slots / seconds}


def _payload(settings: Settings) -> Sequence[Row]:
    goals = {"ms a link": Goal(0.35, REFERENCE)}
    return _contest("payload", settings.size(20), settings, "process", 2, _links, goals)


def _latency(settings: Settings) -> Sequence[Row]:
    goals = {"µs, median": Goal(0.75, REFERENCE)}
    bare = {"a bare thread": _bare}
    return _contest("latency", settings.size(2_000), settings, "thread", 2, _trips, goals, bare)


def _makespan(settings: Settings) -> Sequence[Row]:
    goals = {"efficiency on 8 slots": Goal(0.97, None, least=True)}
    return [
        row
        for slots in SLOTS
        for row in _contest(
            "makespan", 200, settings, "thread", slots, partial(_batch, slots), goals
        )
    ]


SCENARIOS = [
    Scenario(
        "payload", f"an array of {PAYLOAD_MB} MB passed from task to task in processes", _payload
    ),
    Scenario("latency", "one call at a time on a thread, awaited before the next", _latency),
    Scenario(
        "makespan",
        f"{PAUSE_S * 1e3:.0f} ms of work each on {SLOTS[0]} to {SLOTS[-1]} threads; 1.0 is ideal",
        _makespan,
    ),
]
