"""A run goes on when its Dask cluster is lost: nothing is lost, hangs or begins twice.

``ASYNCFLOW_LOSSES`` says how often a cluster is killed, ``ASYNCFLOW_LOSSES_FROM`` from which
seed on.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from asyncflow_backend_dask._worker.call_file import (
    CallFile,
    call_files_below,
    read_begun_calls,
    read_call_file,
)
from loss_campaign import LONG_S, Round, rounds
from radical.asyncflow import BackendLostError, WorkflowEngine, factory
from radical.asyncflow.testing import LeakGuard

SETTINGS: dict[str, Any] = {"n_workers": 2, "dashboard_address": None, "grace": 1.0}


def host() -> psutil.Process:
    """Return the process that holds the scheduler of the cluster that this program started."""
    (found,) = [
        process
        for process in psutil.Process().children()
        if "asyncflow_backend_dask._cluster.host" in " ".join(process.cmdline())
    ]
    return found


def kill(rng: random.Random) -> None:
    """Kill the scheduler alone, or all processes of the cluster at once."""
    if rng.random() < 0.5:
        host().kill()
    else:
        os.killpg(host().pid, signal.SIGKILL)


@pytest.mark.parametrize("seed", rounds(3))
@pytest.mark.timeout(3 * LONG_S)
async def test_nothing_is_lost_and_nothing_begins_twice(seed: int, tmp_path: Path) -> None:
    async with LeakGuard():
        await Round(tmp_path, f"dask {seed}").play(DaskExecutionBackend(**SETTINGS), kill)


async def test_values_of_a_lost_cluster_are_computed_again(
    reaches: Callable[..., Awaitable[None]],
) -> None:
    async with LeakGuard():
        spare = await factory.create_backend("concurrent", max_workers=2)
        both = [DaskExecutionBackend(**SETTINGS), spare]
        async with WorkflowEngine.create(both, failover=True) as flow, asyncio.timeout(200):
            make = flow.function_task(bytes)
            join = flow.function_task(lambda one, two: one + two)
            joined = join(make(200_000), make(100_000))
            await reaches(flow, joined, "DONE")
            gc.collect()
            host().kill()
            assert await joined == bytes(300_000)
            assert await flow.function_task(len)(joined) == 300_000


async def test_what_was_sent_to_a_cluster_of_somebody_else_may_have_begun(
    reaches: Callable[..., Awaitable[None]],
) -> None:
    from distributed import LocalCluster

    async with asyncio.timeout(200):
        cluster = await LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, asynchronous=True,
            processes=False,
        )  # fmt: skip
        spare = await factory.create_backend("concurrent", max_workers=2)
        both = [DaskExecutionBackend(address=cluster.scheduler_address), spare]
        async with WorkflowEngine.create(both, failover=True) as flow:
            go = asyncio.Event()
            doubtful = flow.function_task(pow)(2, 3)
            waits = flow.function_task(pow)(2, go_on(go))
            await reaches(flow, doubtful, "DONE")
            await cluster.close()
            go.set()
            assert await waits == 16
            assert await doubtful == 8


async def go_on(go: asyncio.Event) -> int:
    await go.wait()
    return 4


def test_a_call_file_tells_what_began_and_what_was_last(tmp_path: Path) -> None:
    folder = str(tmp_path / "worker-1")
    file = CallFile(folder)
    for number in range(10):
        assert file.begin("a-long-topic", number, 1)
    assert file.begin("another-thing", 10, 1)
    (path,) = call_files_below(str(tmp_path))
    begun = read_begun_calls(path, "a-long-topic")
    assert begun.all == {(number, 1) for number in range(10)}
    assert (begun.last, begun.oldest) == (set(), set())
    assert read_call_file(folder, "another-thing") == {(10, 1)}


def test_a_call_file_that_was_overwritten_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asyncflow_backend_dask._worker import call_file

    monkeypatch.setattr(call_file, "_LINES", 128)
    monkeypatch.setattr(call_file, "_RING_BYTES", 128 * 32)
    file = CallFile(str(tmp_path / "worker-1"))
    for number in range(130):
        file.begin("some-topic", number, 1)
    (path,) = call_files_below(str(tmp_path))
    begun = read_begun_calls(path, "some-topic")
    assert begun.all == {(number, 1) for number in range(2, 130)}
    assert begun.oldest == {(2, 1)}
    assert begun.last == {(129, 1)}


async def test_without_another_backend_the_tasks_of_a_lost_cluster_fail(
    reaches: Callable[..., Awaitable[None]],
) -> None:
    async with LeakGuard(), asyncio.timeout(200):
        backend = DaskExecutionBackend(**{**SETTINGS, "n_workers": 1})
        async with WorkflowEngine.create(backend, failover=True) as flow:
            sleeping = flow.function_task(time.sleep)(600)
            await reaches(flow, sleeping, "RUNNING")
            waiting = [flow.function_task(bytes)(number) for number in range(5)]
            host().kill()
            ends = await asyncio.gather(sleeping, *waiting, return_exceptions=True)
            assert {type(end) for end in ends} == {BackendLostError}
