"""The tasks end as promised when workers and schedulers die."""

# ruff: noqa: ASYNC240 - what other processes do is polled

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from asyncflow_backend_dask._program.client import ECHO_INTERVAL_S
from asyncflow_backend_dask.config import DaskConfig
from backend_driver import Start
from distributed import LocalCluster
from radical.asyncflow import RetryPolicy, WorkflowEngine
from radical.asyncflow.errors import BackendLostError, DeathReason, WorkerLostError
from radical.asyncflow.events import TaskEvent
from radical.asyncflow.model import TaskState
from radical.asyncflow.testing import LeakGuard
from radical.asyncflow.worker import current_task
from troubleshooting import check_shown

SETTINGS: dict[str, Any] = {"n_workers": 2, "dashboard_address": None, "grace": 1.0}


@pytest.fixture
async def flow() -> AsyncIterator[WorkflowEngine]:
    async with LeakGuard():
        engine = await WorkflowEngine.create("dask", config=SETTINGS)
        yield engine
        async with asyncio.timeout(200):
            await engine.shutdown()


def die_until(folder: str, times: int) -> int:
    """Kill this process in the first *times* calls; return the number of the call."""
    number = 1
    while (Path(folder) / f"call-{number}").exists():
        number += 1
    (Path(folder) / f"call-{number}").touch()
    if number <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def workers() -> list[psutil.Process]:
    """Return the worker processes of the cluster that this program started."""
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
        if "asyncflow_backend_dask._cluster.host" in " ".join(process.cmdline())
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


def die(number: int) -> None:
    """End this process by signal *number*; with exit code 7 if that is 0."""
    if not number:
        os._exit(7)
    signal.raise_signal(number)


@pytest.mark.parametrize(
    ("number", "reason", "shows"),
    [
        (signal.SIGKILL, DeathReason.KILLED, "was ended by signal 9"),
        (signal.SIGSEGV, DeathReason.CRASH, "was ended by signal 11"),
        (0, DeathReason.EXIT, "exit code 7"),
    ],
)
async def test_the_reason_for_the_death_of_a_worker_is_told(
    flow: WorkflowEngine, number: int, reason: DeathReason, shows: str
) -> None:
    with pytest.raises(WorkerLostError, match=shows) as caught:
        await flow.function_task(die, retries=0)(number)
    assert (caught.value.signal, caught.value.reason) == (number or None, reason)


async def test_a_function_that_has_worked_before_is_charged_with_every_death(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    """Even if it dies before anybody is told that it runs."""
    for folder in ("calm", "deadly"):
        (tmp_path / folder).mkdir()
    die = flow.function_task(die_until, retries=2)
    calm = [die(str(tmp_path / "calm"), 0) for _ in range(20)]
    await asyncio.gather(*calm)
    dying = die(str(tmp_path / "deadly"), 2)
    assert await dying == 3
    assert dying.attempts == 3


async def test_a_call_that_was_given_back_runs_again_when_its_worker_dies(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    """It then is in a Dask task of its own, and no longer in the one that gave it back."""

    def step(folder: str, number: int) -> int:
        deadline = time.monotonic() + 200
        while number == 0 and not (Path(folder) / "call-1").exists():
            # The call that was packed behind this one begins elsewhere.
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return die_until(folder, 1) if number == 1 else number

    task = flow.function_task(step)
    await asyncio.gather(*[task(str(tmp_path), at) for at in range(2, 22)])
    numbers = [task(str(tmp_path), at) for at in range(40)]
    assert await asyncio.gather(*numbers) == [0, 2, *range(2, 40)]


async def test_workers_that_die_while_they_start_are_replaced(flow: WorkflowEngine) -> None:
    """A nanny gives up then, so the cluster would lose one worker after the other."""
    assert await flow.function_task(pow)(2, 4) == 16
    killed: set[int] = set()
    async with asyncio.timeout(200):
        while len(killed) < 8:
            for process in workers():
                if process.pid not in killed:
                    killed.add(process.pid)
                    process.kill()
            await asyncio.sleep(0.005)
    assert await asyncio.wait_for(flow.function_task(pow)(2, 5), 200) == 32


async def test_retries_count_each_death_as_an_attempt(flow: WorkflowEngine, tmp_path: Path) -> None:
    future = flow.function_task(die_until, retries=1)(str(tmp_path), 99)
    with pytest.raises(WorkerLostError) as caught:
        await future
    assert (caught.value.attempt, future.attempts) == (2, 2)


async def test_a_value_that_is_lost_with_its_worker_is_computed_again(
    flow: WorkflowEngine,
    tmp_path: Path,
    reaches: Callable[..., Awaitable[None]],
) -> None:
    def make(folder: str) -> bytes:
        number = len(list(Path(folder).iterdir()))
        (Path(folder) / f"made-{number}").touch()
        return bytes(200_000)

    value = flow.function_task(make)(str(tmp_path))
    await reaches(flow, value, "DONE")
    for process in workers():
        process.kill()
    assert await flow.function_task(len)(value) == 200_000
    assert len(list(tmp_path.iterdir())) == 2


def hoard(megabytes: int) -> int:
    """Take memory in steps until the nanny, which looks ten times a second, has seen it."""
    kept = []
    for _ in range(megabytes // 10):
        kept.append(b"x" * 10_000_000)
        time.sleep(0.01)
    return len(kept)


@pytest.mark.parametrize("ours", [True, False], ids=["own cluster", "given cluster"])
async def test_a_worker_that_is_ended_for_its_memory_says_so(ours: bool) -> None:
    limit = {"n_workers": 1, "dashboard_address": None, "memory_limit": "400MB"}
    async with AsyncExitStack() as stack:
        config: dict[str, Any] = limit
        if not ours:
            # Else the cluster closes a nanny whose worker needs longer than 15 seconds to start.
            patience = dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"})
            stack.enter_context(patience)
            settings = limit | {"dashboard_address": "127.0.0.1:0"}  # None would be a fixed port
            cluster = LocalCluster(**settings, asynchronous=True, silence_logs=50)
            config = {"cluster": await stack.enter_async_context(cluster)}
        async with WorkflowEngine.create("dask", config=config) as flow, asyncio.timeout(200):
            with pytest.raises(WorkerLostError, match="of memory, and its limit is 381") as caught:
                await flow.function_task(hoard, retries=0)(4_000)
            assert "its nanny ended it" in str(caught.value)
            assert caught.value.reason is DeathReason.MEMORY
            assert await flow.function_task(abs)(-1) == 1


async def test_a_scheduler_that_dies_fails_what_is_pending_and_shutdown_returns(
    flow: WorkflowEngine,
    reaches: Callable[..., Awaitable[None]],
) -> None:
    sleeping = flow.function_task(time.sleep)
    futures = [sleeping(60) for _ in range(4)]
    await reaches(flow, futures[0], "RUNNING")
    host().kill()
    async with asyncio.timeout(200):
        ends = await asyncio.gather(*futures, return_exceptions=True)
    assert {type(end) for end in ends} == {BackendLostError}
    assert isinstance(ends[0], BackendLostError)
    check_shown(ends[0])
    with pytest.raises(BackendLostError):
        await sleeping(0)


async def test_a_scheduler_that_falls_silent_is_lost_and_shutdown_returns(
    reaches: Callable[..., Awaitable[None]],
) -> None:
    """The connection does not break: TCP notices nothing for half a minute."""
    assert DaskConfig().silence + ECHO_INTERVAL_S < 10  # seconds that are promised
    async with LeakGuard(), asyncio.timeout(200):
        flow = await WorkflowEngine.create("dask", config={**SETTINGS, "silence": 3})
        sleeping = flow.function_task(time.sleep)
        futures = [sleeping(60) for _ in range(4)]
        await reaches(flow, futures[0], "RUNNING")
        host().suspend()
        ends = await asyncio.gather(*futures, return_exceptions=True)
        assert {type(end) for end in ends} == {BackendLostError}
        assert "has not answered for 3 s" in str(ends[0])
        await flow.shutdown()


async def test_a_scheduler_that_dies_ends_a_shutdown_that_waits_for_tasks(
    start: Start[DaskExecutionBackend],
) -> None:
    driver = await start(n_workers=1, dashboard_address=None)
    endless = driver.function(time.sleep, 3_600)
    driver.submit(endless)
    await driver.begun(endless)
    shutdown = asyncio.ensure_future(driver.backend.shutdown(cancel=False))
    await asyncio.sleep(0)  # it has begun
    host().kill()
    async with asyncio.timeout(200):
        await shutdown
    assert isinstance(driver.sink.loss, BackendLostError)


async def test_values_that_were_on_a_dead_cluster_are_lost_by_name(
    flow: WorkflowEngine,
    reaches: Callable[..., Awaitable[None]],
) -> None:
    value = flow.function_task(bytes)(200_000)
    await reaches(flow, value, "DONE")
    host().kill()
    with pytest.raises(BackendLostError):
        await asyncio.wait_for(value, 200)


async def test_kill_running_ends_a_function_with_its_worker_and_harms_no_other(
    reaches: Callable[..., Awaitable[None]],
) -> None:
    async with LeakGuard(), asyncio.timeout(200):
        backend = DaskExecutionBackend(**SETTINGS, kill_running=True)
        async with WorkflowEngine.create(backend) as flow:
            sleeping = flow.function_task(time.sleep)
            endless = sleeping(3_600)
            await reaches(flow, endless, "RUNNING")
            others = [flow.function_task(pow)(2, at) for at in range(20)]
            endless.cancel()
            with pytest.raises(asyncio.CancelledError):
                await endless
            assert await asyncio.gather(*others) == [2**at for at in range(20)]


def work(place: str, number: int, seconds: float) -> int:
    """Write a line that says which attempt begins here."""
    task = current_task()
    assert task is not None
    with Path(place).open("a") as file:
        file.write(f"{number} {task.attempt}\n")
    time.sleep(seconds)
    return number


def grow(data: bytes, seconds: float) -> bytes:
    time.sleep(seconds)
    return data + bytes(100_000)


async def campaign(
    place: Path, seed: int, *, workers_each: int, seconds: float, mercy: int = 0
) -> int:
    """Run 300 tasks while every second a worker is killed; return how many were killed.

    With *mercy* a worker is killed only when that many tasks have ended since the last kill.
    Without it, no task would ever end on a machine that needs more than a second to start a
    worker.
    """
    dice = random.Random(seed)
    ends: Counter[str] = Counter()
    config = {**SETTINGS, "n_workers": workers_each, "allowed_failures": 50}
    killed = 0
    async with LeakGuard(), WorkflowEngine.create("dask", config=config) as flow:
        flow.observe(
            lambda events: ends.update(
                event.task_id
                for event in events
                if isinstance(event, TaskEvent) and event.state >= TaskState.DONE
            )
        )
        often = RetryPolicy(attempts=50)
        single = flow.function_task(work, retries=often)
        step = flow.function_task(grow)
        echo = flow.executable_task(lambda number: ["echo", f"{number}"], retries=often)
        singles = [single(str(place), number, seconds) for number in range(200)]
        chains = []
        for _ in range(15):
            chain = step(b"", seconds)
            for _ in range(3):
                chain = step(chain, seconds)
            chains.append(flow.function_task(len)(chain))
        echoes = [echo(number) for number in range(25)]
        futures = [*singles, *chains, *echoes]
        done = asyncio.ensure_future(asyncio.gather(*futures))
        seen = 0
        while not done.done():
            await asyncio.wait([done], timeout=1.0)
            if len(ends) >= seen + mercy and (alive := workers()):
                seen = len(ends)
                dice.choice(alive).kill()
                killed += 1
        results = await done
    assert results[:200] == list(range(200))
    assert results[200:215] == [400_000] * 15
    assert [text.strip() for text in results[215:]] == [str(number) for number in range(25)]
    assert len(ends) == 300
    assert set(ends.values()) == {1}
    begun = Counter(place.read_text().splitlines())
    assert begun.most_common(1)[0][1] == 1, "an attempt ran twice"
    assert len(begun) >= 200
    return killed


@pytest.mark.timeout(300)
async def test_a_campaign_of_kills_loses_nothing_and_runs_no_attempt_twice(tmp_path: Path) -> None:
    """A failure shows the name of the file, which has the seed in it."""
    seed = random.SystemRandom().randrange(2**32)
    async with asyncio.timeout(290):
        killed = await campaign(
            tmp_path / f"seed-{seed}", seed, workers_each=2, seconds=0.03, mercy=30
        )
    assert killed >= 3


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(5))
async def test_a_long_campaign_of_kills(tmp_path: Path, seed: int) -> None:
    async with asyncio.timeout(590):
        killed = await campaign(tmp_path / "begun", seed, workers_each=3, seconds=0.3)
    assert killed >= 20
