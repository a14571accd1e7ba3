"""Functions on two ranks of MPI, one awaited call after the other, beside executorlib.

Both sides keep their ranks for the next call.  Without mpi4py there are no scenarios here, and
without executorlib there is no reference.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

from radical.asyncflow import WorkflowEngine

from .._measure import agree, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

EXECUTORLIB = "executorlib"
RANKS = 2
CALLS = 200
MILLISECONDS = "ms a call"

Call = Callable[[], Awaitable[object]]
Side = Callable[[], AbstractAsyncContextManager[Call]]


def _noop() -> None:
    pass


def _allreduce() -> int:
    from mpi4py import MPI

    return int(MPI.COMM_WORLD.allreduce(1))


@asynccontextmanager
async def _ours(function: Callable[[], Any]) -> AsyncIterator[Call]:
    async with WorkflowEngine.create("concurrent", config={"max_workers": RANKS}) as flow:
        yield flow.function_task(resources={"ranks": RANKS})(function)


@asynccontextmanager
async def _executorlib(function: Callable[[], Any]) -> AsyncIterator[Call]:
    from executorlib import SingleNodeExecutor

    resources = {"cores": RANKS}
    with SingleNodeExecutor(
        max_workers=1, resource_dict=resources, block_allocation=True
    ) as executor:

        async def call() -> object:
            return await asyncio.wrap_future(executor.submit(function))

        yield call


async def _turns(sides: Mapping[str, Side], calls: int, repeat: int) -> dict[str, list[float]]:
    """Return the median time of a call of each side in each round, in ms; they take turns."""
    medians: dict[str, list[float]] = {name: [] for name in sides}
    results: dict[str, object] = {}
    for _ in range(repeat):
        for name, side in sides.items():
            async with side() as call:
                agree(results, name, await call())  # starts the ranks
                times = []
                for _ in range(calls):
                    began = time.perf_counter()
                    await call()
                    times.append(time.perf_counter() - began)
            medians[name].append(statistics.median(times) * 1e3)
    return medians


def _measure(name: str, function: Callable[[], Any], settings: Settings) -> Sequence[Row]:
    sides: dict[str, Side] = {OURS: partial(_ours, function)}
    goal = Goal(5.0, None)
    if find_spec(EXECUTORLIB) is not None:
        sides[EXECUTORLIB] = partial(_executorlib, function)
        goal = Goal(1.0, EXECUTORLIB)
    size = settings.size(CALLS)
    series = {MILLISECONDS: asyncio.run(_turns(sides, size, settings.repeat))}
    return rows(name, size, series, {MILLISECONDS: goal})


FUNCTIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "mpi-noop": (_noop, "a function that does nothing"),
    "mpi-allreduce": (_allreduce, "a function that adds up a number"),
}
SCENARIOS = (
    [
        Scenario(name, f"{what}, on {RANKS} ranks", partial(_measure, name, function))
        for name, (function, what) in FUNCTIONS.items()
    ]
    if find_spec("mpi4py") is not None
    else []
)
