"""The time until what a lost backend held is done elsewhere.

Beside it: the same tasks called anew on the backend that takes over, which is what a program
without failover would have to do.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from radical.asyncflow import BackendLostError, ConcurrentExecutionBackend, WorkflowEngine
from radical.asyncflow.backend import Capabilities, ExecutionBackend, TaskId, TaskKind, TaskRequest

from .. import _bodies
from .._measure import COST, interleave, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

AGAIN = "called anew"
ALL = "s for all"
WORKERS = 2


class _Holding(ExecutionBackend):
    """A backend that takes tasks, runs none of them, and is lost with all of them."""

    name = "holding"

    def __init__(self, *, native: bool) -> None:
        self.capabilities = Capabilities(
            kinds={TaskKind.FUNCTION}, native_dependencies=native, remote_results=native
        )
        self.held: list[TaskRequest] = []

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        self.held += batch

    def lose(self) -> None:
        self.sink.lost(BackendLostError("it was lost"), [each.task_id for each in self.held])
        self.held.clear()

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        for each in self.held:
            if each.task_id in task_ids:
                self.sink.cancelled(each.task_id, each.attempt)

    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)


def _call(flow: WorkflowEngine, chains: bool, size: int) -> list[asyncio.Future[int]]:
    """Call *size* tasks: independent ones, or chains of ten."""
    task = flow.function_task(_bodies.one_more)
    futures: list[asyncio.Future[int]] = []
    for number in range(size):
        behind = chains and number % 10
        futures.append(task(futures[-1] if behind else number))
    return futures


async def _moved(chains: bool, size: int) -> float:
    holding = _Holding(native=chains)
    both = [holding, ConcurrentExecutionBackend(max_workers=WORKERS)]
    async with WorkflowEngine.create(both, failover=True) as flow:
        futures = _call(flow, chains, size)
        while len(holding.held) < size:  # noqa: ASYNC110 - the next turn sends them
            await asyncio.sleep(0)
        gc.collect()
        began = time.perf_counter()
        holding.lose()
        await asyncio.gather(*futures)
        return time.perf_counter() - began


async def _called_anew(chains: bool, size: int) -> float:
    async with WorkflowEngine.create(ConcurrentExecutionBackend(max_workers=WORKERS)) as flow:
        gc.collect()
        began = time.perf_counter()
        await asyncio.gather(*_call(flow, chains, size))
        return time.perf_counter() - began


def _measure(settings: Settings) -> Sequence[Row]:
    size = settings.size(10_000)
    found: list[Row] = []
    for shape, chains in (("bag", False), ("chains of ten", True)):

        def sample(run: object, chains: bool = chains) -> Mapping[str, float]:
            seconds = asyncio.run(run(chains, size))  # type: ignore[operator]
            return {COST: seconds / size * 1e6, ALL: seconds}

        samples = {OURS: partial(sample, _moved), AGAIN: partial(sample, _called_anew)}
        goals = {ALL: Goal(1.0, None), COST: Goal(2.0, AGAIN)}
        found += rows(f"failover, {shape}", size, interleave(samples, settings.repeat), goals)
    return found


SCENARIOS = (
    Scenario("failover", "what a lost backend held, until it is done elsewhere", _measure),
)
