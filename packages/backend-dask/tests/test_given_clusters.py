"""On a cluster of somebody else's the promises hold, and nothing of ours stays there."""

# ruff: noqa: ASYNC110 - what other processes do is polled

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from distributed import Client, LocalCluster, Status
from radical.asyncflow import RetryPolicy, WorkflowEngine
from radical.asyncflow.errors import BackendStartError, WorkerLostError
from radical.asyncflow.testing import RecordingSink
from radical.asyncflow.testing import _functions as functions

PATIENCE = {"distributed.deploy.lost-worker-timeout": "1 day"}
"""A setting of Dask, whose clusters close a nanny for good if its worker is not there 15 seconds
after one of its deaths: on a busy machine, that worker has died once more and is just starting."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Make a cluster of one worker, with Dask's own rule that three deaths are enough."""
    settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with dask.config.set(PATIENCE), LocalCluster(**settings) as made:
        assert made.scheduler.allowed_failures == 3
        yield made


@pytest.fixture(scope="module")
def distant() -> Iterator[LocalCluster]:
    """Make a scheduler at one address and its workers at another, whose files it never reads."""
    with LocalCluster(
        n_workers=0, host="127.0.0.1", protocol="tcp://", dashboard_address="127.0.0.1:0"
    ) as made:
        command = [sys.executable, "-m", "distributed.cli.dask_worker", made.scheduler_address]
        options = ["--host", "127.0.0.2", "--nthreads", "1", "--nworkers", "2", "--no-dashboard"]
        with subprocess.Popen(
            [*command, *options], stderr=subprocess.DEVNULL, start_new_session=True
        ) as workers:
            yield made
            os.killpg(workers.pid, signal.SIGKILL)


def begin(folder: str) -> int:
    """Return how many calls have begun, this one among them."""
    return functions.next_number(folder)


def die_in(folder: str, times: int) -> int:
    number = functions.next_number(folder)
    if number <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_when_told(folder: str, times: int) -> int:
    """Do as `die_in`, but wait for the file ``go-NUMBER`` before dying."""
    number = functions.next_number(folder)
    deadline = time.monotonic() + 200
    while number <= times and time.monotonic() < deadline:
        if (Path(folder) / f"go-{number}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.005)
    return number


async def tell(cluster: LocalCluster, folder: Path, times: int) -> None:
    """Let the calls die, each only when the nanny knows that its worker has started.

    A nanny gives up if its worker dies before that.
    """
    (nanny,) = cluster.workers.values()
    dead = None
    for number in range(1, times + 1):
        while True:
            process = nanny.process
            if process and process.status is Status.running and process.pid != dead:
                break
            await asyncio.sleep(0.01)
        dead = process.pid
        (folder / f"go-{number}").touch()


async def test_tasks_that_wait_at_a_worker_are_not_charged_with_its_deaths(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    deadly, calm = tmp_path / "deadly", tmp_path / "calm"
    deadly.mkdir()
    calm.mkdir()
    backend = DaskExecutionBackend(cluster=cluster, allowed_failures=0)
    async with asyncio.timeout(200), WorkflowEngine.create(backend) as flow:
        die = flow.function_task(
            die_when_told,
            retries=RetryPolicy(attempts=6),
            task_description={"priority": 10},
        )
        patient = flow.function_task(begin)
        dying = die(str(deadly), 5)
        waiting = [patient(str(calm)) for _ in range(5)]
        await tell(cluster, deadly, 5)
        assert await dying == 6
        assert dying.attempts == 6
        assert len(set(await asyncio.gather(*waiting))) == 5


@pytest.mark.parametrize("shown", [True, False], ids=["known", "new"])
async def test_a_worker_elsewhere_dies_and_its_task_alone_is_charged(
    distant: LocalCluster, tmp_path: Path, shown: bool
) -> None:
    """A function that has returned there before may begin once more before it is charged."""
    backend = DaskExecutionBackend(address=distant.scheduler_address)
    async with asyncio.timeout(200), WorkflowEngine.create(backend) as flow:
        die = flow.function_task(die_in, retries=2)
        if shown:
            (tmp_path / "calm").mkdir()
            await asyncio.gather(*[die(str(tmp_path / "calm"), 0) for _ in range(6)])
        folder = tmp_path / "deadly"
        folder.mkdir()
        dying = die(str(folder), 99)
        with pytest.raises(WorkerLostError, match=r"127\.0\.0\.2"):
            await dying
        assert dying.attempts == 3
        assert functions.next_number(str(folder)) - 1 in ({3, 4, 5} if shown else {3})


async def test_kill_running_is_refused_where_nobody_restarts_the_workers() -> None:
    threads = LocalCluster(
        n_workers=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
    )
    with threads:
        backend = DaskExecutionBackend(address=threads.scheduler_address, kill_running=True)
        with pytest.raises(BackendStartError, match="have none"):
            await backend.start(RecordingSink())


def left_of_us(dask_scheduler: Any) -> list[str]:
    plugins = [name for name in dask_scheduler.plugins if name.startswith("asyncflow-")]
    return [*plugins, *map(str, dask_scheduler.tasks)]


async def test_nothing_of_ours_stays_on_the_scheduler(cluster: LocalCluster) -> None:
    async with WorkflowEngine.create("dask", config={"cluster": cluster}) as flow:
        assert await flow.function_task(len)(bytes(200_000)) == 200_000
        assert left_of_us(cluster.scheduler)
    await emptied(cluster)


PROGRAM = """
import asyncio, sys, time
from radical.asyncflow import WorkflowEngine

async def main():
    async with WorkflowEngine.create("dask", config={"address": sys.argv[1]}) as flow:
        futures = [flow.function_task(time.sleep)(0.2) for _ in range(50)]
        await futures[0]
        print("works", flush=True)
        await asyncio.gather(*futures)

asyncio.run(main())
"""


def kill_a_program(address: str) -> None:
    """Kill a program while its tasks run at that scheduler."""
    command = [sys.executable, "-c", PROGRAM, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "works\n"
        process.kill()


async def test_nothing_stays_there_of_a_program_that_was_killed(cluster: LocalCluster) -> None:
    kill_a_program(cluster.scheduler_address)
    await emptied(cluster)
    async with WorkflowEngine.create("dask", config={"cluster": cluster}) as flow:
        assert await flow.function_task(pow)(2, 5) == 32


async def emptied(cluster: LocalCluster) -> None:
    async with asyncio.timeout(200):
        while left_of_us(cluster.scheduler):
            await asyncio.sleep(0.01)


async def test_what_others_run_there_is_none_of_our_business(cluster: LocalCluster) -> None:
    with Client(cluster, set_as_default=False) as other:
        theirs = other.map(pow, range(10), [2] * 10)
        async with WorkflowEngine.create("dask", config={"cluster": cluster}) as flow:
            ours = [flow.function_task(pow)(at, 2) for at in range(10)]
            assert await asyncio.gather(*ours) == other.gather(theirs)
        assert other.gather(other.map(abs, range(3))) == [0, 1, 2]


async def test_a_function_that_has_just_begun_is_killed_as_well(
    tmp_path: Path, appears: Callable[[Path], Awaitable[None]]
) -> None:
    """It is cancelled before the program knows where it runs."""

    def begin_and_sleep(place: str) -> None:
        Path(f"{place}.part").write_text(f"{os.getpid()}")
        Path(f"{place}.part").rename(place)
        time.sleep(3_600)

    settings = {"n_workers": 1, "dashboard_address": None, "kill_running": True, "grace": 1.0}
    async with asyncio.timeout(200), WorkflowEngine.create("dask", config=settings) as flow:
        for number in range(3):
            place = tmp_path / f"begun-{number}"
            endless = flow.function_task(begin_and_sleep)(str(place))
            await appears(place)
            endless.cancel()
            assert await flow.function_task(pow)(2, 2) == 4
            assert endless.cancelled()
            assert not psutil.pid_exists(int(place.read_text()))
