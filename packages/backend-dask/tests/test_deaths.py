"""Workers and schedulers die; what becomes of the tasks is as promised."""

# ruff: noqa: ASYNC110, ASYNC240 - what other processes do is polled

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from radical.asyncflow import RetryPolicy, WorkflowEngine
from radical.asyncflow.errors import BackendLostError, WorkerLostError
from radical.asyncflow.testing import LeakGuard

SETTINGS: dict[str, Any] = {"n_workers": 2, "dashboard_address": None, "grace": 1.0}


@pytest.fixture
async def flow() -> AsyncIterator[WorkflowEngine]:
    async with LeakGuard():
        engine = await WorkflowEngine.create("dask", config=SETTINGS)
        yield engine
        async with asyncio.timeout(20):
            await engine.shutdown()


def die_until(folder: str, times: int) -> int:
    """Kills its process in the first *times* calls; the number of this call."""
    number = 1
    while (Path(folder) / f"call-{number}").exists():
        number += 1
    (Path(folder) / f"call-{number}").touch()
    if number <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def workers() -> list[psutil.Process]:
    """The worker processes of the cluster that this program started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if "spawn_main" in line:
            found.append(process)
    return found


def host() -> psutil.Process:
    (found,) = [
        process
        for process in psutil.Process().children()
        if "asyncflow_backend_dask._host" in " ".join(process.cmdline())
    ]
    return found


async def test_a_task_whose_worker_dies_is_run_again(flow: WorkflowEngine, tmp_path: Path) -> None:
    assert await flow.function_task(die_until)(str(tmp_path), 1) == 2


async def test_a_task_that_kills_its_workers_fails_after_allowed_failures(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    with pytest.raises(WorkerLostError) as caught:
        await flow.function_task(die_until)(str(tmp_path), 99)
    assert caught.value.worker.startswith("tcp://127.0.0.1:")
    assert len(list(tmp_path.iterdir())) == 4  # the first run, and three more


async def test_retries_count_each_death_as_an_attempt(flow: WorkflowEngine, tmp_path: Path) -> None:
    future = flow.function_task(die_until, retries=1)(str(tmp_path), 99)
    with pytest.raises(WorkerLostError) as caught:
        await future
    assert (caught.value.attempt, future.attempts) == (2, 2)


async def test_a_value_that_is_lost_with_its_worker_is_computed_again(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    def make(folder: str) -> bytes:
        number = len(list(Path(folder).iterdir()))
        (Path(folder) / f"made-{number}").touch()
        return bytes(200_000)

    value = flow.function_task(make)(str(tmp_path))
    while value.state != "DONE":
        await asyncio.sleep(0.01)
    for process in workers():
        process.kill()
    assert await flow.function_task(len)(value) == 200_000
    assert len(list(tmp_path.iterdir())) == 2


async def test_a_scheduler_that_dies_fails_what_is_pending_and_shutdown_returns(
    flow: WorkflowEngine,
) -> None:
    sleeping = flow.function_task(time.sleep)
    futures = [sleeping(60) for _ in range(4)]
    while futures[0].state != "RUNNING":
        await asyncio.sleep(0.01)
    host().kill()
    async with asyncio.timeout(10):
        ends = await asyncio.gather(*futures, return_exceptions=True)
    assert {type(end) for end in ends} == {BackendLostError}
    with pytest.raises(BackendLostError):
        await sleeping(0)


async def test_values_that_were_on_a_dead_cluster_are_lost_by_name(flow: WorkflowEngine) -> None:
    value = flow.function_task(bytes)(200_000)
    while value.state != "DONE":
        await asyncio.sleep(0.01)
    host().kill()
    with pytest.raises(BackendLostError):
        await asyncio.wait_for(value, 20)


async def test_kill_running_ends_a_function_with_its_worker_and_harms_no_other() -> None:
    async with LeakGuard(), asyncio.timeout(40):
        backend = DaskExecutionBackend(**SETTINGS, kill_running=True)
        async with WorkflowEngine.create(backend) as flow:
            sleeping = flow.function_task(time.sleep)
            endless = sleeping(60)
            while endless.state != "RUNNING":
                await asyncio.sleep(0.01)
            others = [flow.function_task(pow)(2, at) for at in range(20)]
            begun = time.monotonic()
            endless.cancel()
            with pytest.raises(asyncio.CancelledError):
                await endless
            assert time.monotonic() - begun < 20
            assert await asyncio.gather(*others) == [2**at for at in range(20)]


async def test_a_campaign_of_kills_loses_nothing() -> None:
    """Every task ends once, and is charged with no more than the deaths under it."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    async with LeakGuard(), asyncio.timeout(100):  # noqa: SIM117
        async with WorkflowEngine.create("dask", config=SETTINGS) as flow:
            ends: Counter[str] = Counter()

            @flow.function_task(retries=RetryPolicy(attempts=20))
            def work(number: int) -> int:
                time.sleep(0.02)
                return number

            async def kill() -> int:
                killed = 0
                while killed < 5:
                    await asyncio.sleep(1.0)
                    if alive := workers():
                        dice.choice(alive).kill()
                        killed += 1
                return killed

            killing = asyncio.ensure_future(kill())
            values: list[int] = []
            while not killing.done():
                futures = [work(at) for at in range(100)]
                values = await asyncio.gather(*futures)
                assert values == list(range(100)), f"seed {seed}"
                ends.update(future.state for future in futures)
            assert await killing == 5
            assert set(ends) == {"DONE"}
            assert ends["DONE"] >= 100
            assert flow.backend.name == "dask"
