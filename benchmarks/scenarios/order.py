"""The order of tasks, by the first result of many pairs and the memory of their values."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

from radical.asyncflow import WorkflowEngine

from .._measure import Series, fresh, interleave, rows
from .._memory import ALIVE, PEAK
from .._model import OURS, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

SLOTS = 2
PAIRS = 1_000
SLEEP_S = 0.001
SIZES = (1_000, 100_000)
FIRST = "pairs' time until the first result"
PLAIN = "asyncio + ThreadPoolExecutor"
DASK = "Dask by hand"

Pair = Callable[[int], asyncio.Future[int]]
"""A function that starts a pair of tasks and returns the future of the result."""


def first(number: int) -> int:
    time.sleep(SLEEP_S)
    return number


def second(number: int) -> int:
    time.sleep(SLEEP_S)
    return number + 1


@asynccontextmanager
async def _ours(backend: str, config: dict[str, Any]) -> AsyncIterator[Pair]:
    async with WorkflowEngine.create(backend=backend, config=config) as flow:
        one, two = flow.function_task(first), flow.function_task(second)
        yield lambda number: two(one(number))


@asynccontextmanager
async def _plain() -> AsyncIterator[Pair]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(SLOTS) as pool:

        async def pair(number: int) -> int:
            value = await loop.run_in_executor(pool, first, number)
            return await loop.run_in_executor(pool, second, value)

        yield lambda number: asyncio.ensure_future(pair(number))


@asynccontextmanager
async def _dask() -> AsyncIterator[Pair]:
    from distributed import Client, LocalCluster

    async with (
        LocalCluster(
            n_workers=SLOTS, threads_per_worker=1, dashboard_address=None, asynchronous=True
        ) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):

        def pair(number: int) -> asyncio.Future[int]:
            value = client.submit(first, number, pure=False)
            end: asyncio.Future[int] = asyncio.ensure_future(
                client.submit(second, value, pure=False).result()
            )
            return end

        yield pair


def _sample(side: Callable[[], Any], pairs: int) -> Callable[[], Mapping[str, float]]:
    """Return a function that measures how long the first of *pairs* takes, in pairs' time."""

    async def run() -> Mapping[str, float]:
        async with side() as pair:
            await asyncio.gather(*[pair(number) for number in range(SLOTS)])
            began = time.perf_counter()
            await pair(0)
            alone = time.perf_counter() - began
            began = time.perf_counter()
            futures = [pair(number) for number in range(pairs)]
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            until_first = time.perf_counter() - began
            assert await asyncio.gather(*futures) == list(range(1, pairs + 1))
        return {FIRST: until_first / alone, "ms until the first result": until_first * 1e3}

    return lambda: asyncio.run(run())


def _first_result(settings: Settings) -> Sequence[Row]:
    pairs = settings.size(PAIRS)
    threads = {"max_workers": SLOTS}
    sides: dict[str, Callable[[], Any]] = {
        OURS: lambda: _ours("concurrent", threads),
        PLAIN: _plain,
    }
    found = _compare("order-first-result, threads", sides, pairs, settings)
    if find_spec("distributed") is not None:
        cluster = {"n_workers": SLOTS, "dashboard_address": None}
        sides = {OURS: lambda: _ours("dask", cluster), DASK: _dask}
        found += _compare("order-first-result, dask", sides, pairs, settings)
    return found


def _compare(
    name: str, sides: Mapping[str, Callable[[], Any]], pairs: int, settings: Settings
) -> list[Row]:
    samples = {side: _sample(begin, pairs) for side, begin in sides.items()}
    return rows(name, pairs, interleave(samples, settings.repeat))


def _memory(settings: Settings) -> Sequence[Row]:
    small, large = (settings.size(size) for size in SIZES)
    series: Series = interleave(
        {
            OURS: lambda: fresh("benchmarks._memory:pairs", size=large),
            f"{OURS} at {small:,}": lambda: fresh("benchmarks._memory:pairs", size=small),
        },
        settings.repeat,
    )
    return rows("order-memory", large, {figure: series[figure] for figure in (ALIVE, PEAK)})


SCENARIOS = [
    Scenario(
        "order-first-result",
        f"the first result of b(a(i)) over {PAIRS:,} i, called at once, beside other ways",
        _first_result,
    ),
    Scenario("order-memory", "the peak of memory of b(a(i)) with values of 100 kB", _memory),
]
