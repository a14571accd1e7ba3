"""A run goes on when its Dask cluster is lost: nothing is lost, hangs or begins twice.

``ASYNCFLOW_LOSSES`` says how often a cluster is killed, ``ASYNCFLOW_LOSSES_FROM`` from which
seed on.
"""

from __future__ import annotations

import asyncio
import errno
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
from asyncflow_backend_dask._messages.events import CANCELLED, DONE_INLINE, DONE_REMOTE, FAILED
from asyncflow_backend_dask._worker import call_file
from asyncflow_backend_dask._worker.call_file import (
    CallFile,
    call_files_below,
    close_call_file,
    read_begun_calls,
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


def test_a_call_file_tells_what_began_and_how_it_ended(tmp_path: Path) -> None:
    folder = str(tmp_path / "worker-1")
    file = CallFile(folder)
    failure = ("ValueError", "no \udcff", "Traceback", None)
    ends = [(DONE_INLINE, b"x" * 5_000), (FAILED, failure), (CANCELLED, None), (DONE_REMOTE, None)]
    for number, (kind, data) in enumerate(ends):
        assert file.begin("a-long-topic", number, 1)
        file.end(kind, 0.5, data, 7.25)
    assert file.begin("a-long-topic", 9, 2)
    assert file.begin("another-thing", 10, 1)
    assert not file.is_closed
    (path,) = call_files_below(str(tmp_path))
    begun = read_begun_calls(path, "a-long-topic")
    assert begun.all == {*((number, 1) for number in range(4)), (9, 2)}
    assert (begun.oldest, begun.is_complete) == (set(), True)
    assert begun.ended == {
        (number, 1): (kind, 0.5, data, 7.25) for number, (kind, data) in enumerate(ends[:3])
    }
    other = close_call_file(folder, "another-thing")
    assert other is not None
    assert other.all == {(10, 1)}
    assert file.is_closed
    assert close_call_file(f"{folder}0", "another-thing") is None


def test_a_call_file_keeps_the_last_lines_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_file, "_LINES", 256)  # so that a thread's part ends with a page
    monkeypatch.setattr(call_file, "_ANSWERS_BYTES", 4096)
    file = CallFile(str(tmp_path / "worker-1"))
    for number in range(1_000):
        file.begin("some-topic", number, 1)
        file.end(DONE_INLINE, 0.0, bytes([number % 251]) * (number % 700), 1.0)
    file.begin("some-topic", 1_000, 1)
    file.end(DONE_INLINE, 0.0, bytes(5_000), 1.0)
    (path,) = call_files_below(str(tmp_path))
    begun = read_begun_calls(path, "some-topic")
    assert begun.all == {(number, 1) for number in range(745, 1_001)}
    assert begun.oldest == {(745, 1)}
    assert (999, 1) in begun.ended  # the last that there was room for
    assert 5 < len(begun.ended) < 200
    for (number, _), (_, _, data, _) in begun.ended.items():
        assert data == bytes([number % 251]) * (number % 700)


def test_a_call_file_says_what_had_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    file = CallFile(str(tmp_path / "worker-1"))
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert not file.begin("some-topic", 1, 1)
    file.end(DONE_INLINE, 0.0, b"1", 1.0)
    (path,) = call_files_below(str(tmp_path))
    begun = read_begun_calls(path, "some-topic")
    assert (begun.all, begun.ended, begun.is_complete) == (set(), {}, False)
    with pytest.raises(OSError, match="no space"):
        CallFile(str(tmp_path / "worker-2"))
    assert call_files_below(str(tmp_path)) == [path]


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
