"""Chains in worker processes: a member of one gets the value where it was made."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import DependencyFailureError, WorkerLostError
from radical.asyncflow.testing import LeakGuard


@pytest.fixture
async def flow(tmp_path: Any) -> AsyncIterator[WorkflowEngine]:
    config = {"executor_type": "process", "max_workers": 2}
    create = WorkflowEngine.create(backend="concurrent", config=config, work_dir=tmp_path)
    async with LeakGuard(), create as flow:
        yield flow


def add(number: int, seconds: float = 0.0) -> int:
    if seconds:
        time.sleep(seconds)
    return number + 1


def refuse(number: int) -> int:
    raise ValueError(number)


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def chain(flow: WorkflowEngine, length: int, odd: int = -1, body: Any = add, **more: Any) -> Any:
    """The futures of a chain, whose member at *odd* calls *body*."""
    plain, other = flow.function_task(add), flow.function_task(body)
    futures = [plain(0)]
    for at in range(1, length):
        futures.append(other(futures[-1], **more) if at == odd else plain(futures[-1]))
    return futures


async def warm(flow: WorkflowEngine) -> None:
    """Let the backend learn that the tasks are short, so that they travel together."""
    for _ in range(3):
        assert await chain(flow, 500)[-1] == 500


async def test_a_long_chain_has_every_value(flow: WorkflowEngine) -> None:
    await warm(flow)
    assert await asyncio.gather(*chain(flow, 2000)) == list(range(1, 2001))


async def test_a_slow_member_holds_up_its_own_chain_alone(flow: WorkflowEngine) -> None:
    await warm(flow)
    slow = chain(flow, 300, 150, seconds=0.2)
    others = [chain(flow, 300) for _ in range(5)]
    assert [await futures[-1] for futures in (slow, *others)] == [300] * 6


async def test_a_member_that_fails_fails_what_is_behind_it(flow: WorkflowEngine) -> None:
    await warm(flow)
    results = await asyncio.gather(*chain(flow, 300, 100, refuse), return_exceptions=True)
    assert results[:100] == list(range(1, 101))
    assert isinstance(results[100], ValueError)
    assert {type(result) for result in results[101:]} == {DependencyFailureError}


async def test_a_member_that_kills_its_worker_is_charged_alone(flow: WorkflowEngine) -> None:
    await warm(flow)
    results = await asyncio.gather(*chain(flow, 300, 100, die), return_exceptions=True)
    assert results[:100] == list(range(1, 101))
    assert isinstance(results[100], WorkerLostError)
    assert {type(result) for result in results[101:]} == {DependencyFailureError}


async def test_a_member_gets_a_copy_of_a_value_that_its_worker_keeps(flow: WorkflowEngine) -> None:
    def make() -> Any:
        make.kept = [np.zeros(100_000), [1]]  # type: ignore[attr-defined]
        return make.kept  # type: ignore[attr-defined]

    def spoil(value: Any) -> Any:
        value[0][:] = 9
        value[1].append(2)
        return value

    first = flow.function_task(make)()
    second = flow.function_task(spoil)(first)
    for array, numbers in [await second]:
        assert (array.sum(), numbers) == (900_000, [1, 2])
    array, numbers = await first
    assert (array.sum(), numbers) == (0, [1])


async def test_a_value_that_cannot_travel_ends_the_chain(flow: WorkflowEngine) -> None:
    await warm(flow)
    results = await asyncio.gather(
        *chain(flow, 60, 30, lambda number: [number, threading.Lock()]), return_exceptions=True
    )
    assert results[:30] == list(range(1, 31))
    assert "result" in str(results[30])
    assert {type(result) for result in results[31:]} == {DependencyFailureError}


@pytest.mark.parametrize("seed", range(4))
async def test_cancels_at_any_moment_hit_their_own_chain_alone(
    flow: WorkflowEngine, seed: int
) -> None:
    await warm(flow)
    dice = random.Random(seed)
    for _ in range(4):
        chains = [chain(flow, 200) for _ in range(8)]
        await asyncio.sleep(dice.random() ** 2 * 0.03)
        for futures in chains[::2]:
            futures[dice.randrange(200)].cancel()
        for at, futures in enumerate(chains):
            async with asyncio.timeout(30):
                results = await asyncio.gather(*futures, return_exceptions=True)
            done = [result for result in results if isinstance(result, int)]
            assert done == list(range(1, len(done) + 1))
            assert at % 2 == 0 or len(done) == 200
