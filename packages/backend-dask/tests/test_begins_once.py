"""No attempt begins twice, in whatever moment its worker dies."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from asyncflow_backend_dask._worker.call_file import close_call_file
from distributed import get_worker
from radical.asyncflow import TaskFuture, WorkflowEngine
from radical.asyncflow.errors import BackendError, WorkerLostError
from radical.asyncflow.testing import LeakGuard
from radical.asyncflow.worker import current_task

PATIENCE_S = 200


@asynccontextmanager
async def cluster(**settings: Any) -> AsyncIterator[WorkflowEngine]:
    config: dict[str, Any] = {
        "n_workers": 1,
        "dashboard_address": None,
        "grace": 1.0,
        "allowed_failures": 0,
    }
    config |= settings
    async with LeakGuard(), WorkflowEngine.create("dask", config=config) as flow:
        async with asyncio.timeout(PATIENCE_S):
            yield flow


def note(folder: str, name: object) -> None:
    """Write that an attempt begins here."""
    task = current_task()
    assert task is not None
    with (Path(folder) / "begun").open("a") as file:
        file.write(f"{name} {task.attempt} {os.getpid()}\n")


def begun(folder: Path) -> dict[str, int]:
    """Return for each name and attempt how often it began."""
    lines = (folder / "begun").read_text().splitlines()
    return Counter(line.rpartition(" ")[0] for line in lines)


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Computations:
    """Keeps all keys on the scheduler, and tells when it has the value of one once more."""

    def __init__(self, flow: WorkflowEngine) -> None:
        backend: Any = flow.backend
        self._session = backend._session
        client = self._session._client
        client.release_keys = len  # which does nothing
        self._counts: Counter[str] = Counter()
        self._computed = asyncio.Event()
        self._on_memory = client._listener.on_memory
        client._listener.on_memory = self._note

    def key_of(self, future: TaskFuture[Any]) -> str:
        job = self._session._table.jobs[int(future.id.removeprefix("task."))]
        assert isinstance(job.key, str)
        return job.key

    async def wait(self, key: str, times: int) -> None:
        while self._counts[key] < times:
            await self._computed.wait()
            self._computed.clear()

    def _note(self, key: str) -> None:
        self._counts[key] += 1
        self._computed.set()
        self._on_memory(key)


async def never(*_: Any, **__: Any) -> None:
    await asyncio.Event().wait()


async def test_a_call_that_ended_unheard_is_over(tmp_path: Path) -> None:
    """The next one begins before the end has left the worker, which dies of that."""

    def ends(folder: str) -> str:
        note(folder, "first")
        worker = get_worker()
        wait_for(lambda: len(worker.state.ready))
        worker.batched_stream.comm.write = never
        return "value"

    def dies(folder: str) -> None:
        note(folder, "second")
        os.kill(os.getpid(), signal.SIGKILL)

    async with cluster() as flow:
        first = flow.function_task(ends)(str(tmp_path))
        second = flow.function_task(dies)(str(tmp_path))
        assert await first == "value"
        with pytest.raises(WorkerLostError):
            await second
        assert begun(tmp_path) == {"first 1": 1, "second 1": 1}


async def test_a_failure_that_was_unheard_is_reported(tmp_path: Path) -> None:
    def fails(folder: str) -> None:
        note(folder, "first")
        worker = get_worker()
        wait_for(lambda: len(worker.state.ready))
        worker.batched_stream.comm.write = never
        raise ValueError("it failed")

    def dies(folder: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async with cluster() as flow:
        first = flow.function_task(fails)(str(tmp_path))
        second = flow.function_task(dies)(str(tmp_path))
        with pytest.raises(ValueError, match="it failed"):
            await first
        with pytest.raises(WorkerLostError):
            await second
        assert begun(tmp_path) == {"first 1": 1}


async def test_what_has_ended_does_not_run_again_because_its_value_is_lost(tmp_path: Path) -> None:
    """Dask computes it once more if the worker dies before the key is released."""

    def work(folder: str) -> int:
        note(folder, "work")
        return os.getpid()

    async with cluster() as flow:
        computations = Computations(flow)
        future = flow.function_task(work, retries=3)(str(tmp_path))
        await asyncio.sleep(0)  # it was sent
        key = computations.key_of(future)
        worker = psutil.Process(await future)
        await computations.wait(key, 1)
        worker.kill()
        await computations.wait(key, 2)
        assert begun(tmp_path) == {"work 1": 1}


async def test_a_call_that_was_given_back_and_has_ended_stays_ended(tmp_path: Path) -> None:
    """The call that was in front of it, in the same Dask task, then kills the worker."""

    def step(folder: str, number: int) -> int:
        note(folder, number)
        if number == 0:
            wait_for((Path(folder) / "go").exists)
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    async with cluster(n_workers=2) as flow:
        computations = Computations(flow)
        task = flow.function_task(step)
        await asyncio.gather(*[task(str(tmp_path), at) for at in range(100, 120)])
        deadly, *others = [task(str(tmp_path), at) for at in range(40)]
        assert await asyncio.gather(*others) == list(range(1, 40))
        key = computations.key_of(deadly)
        assert "-x" in key  # it shares its Dask task
        (tmp_path / "go").touch()
        with pytest.raises(WorkerLostError):
            await deadly
        await computations.wait(key, 1)
        assert set(begun(tmp_path).values()) == {1}


async def test_only_the_call_that_dies_is_lost_of_those_that_share_a_dask_task(
    tmp_path: Path, sizes_of: Callable[[WorkflowEngine], list[int]]
) -> None:
    def step(folder: str, number: int) -> int:
        note(folder, number)
        if number == 39:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    async with cluster() as flow:
        task = flow.function_task(step)
        await asyncio.gather(*[task(str(tmp_path), at) for at in range(100, 120)])
        sizes = sizes_of(flow)
        numbers = [task(str(tmp_path), at) for at in range(40)]
        ends = await asyncio.gather(*numbers, return_exceptions=True)
        assert sizes[-1] > 1
        assert ends[:39] == list(range(39))
        assert isinstance(ends[39], WorkerLostError)
        assert set(begun(tmp_path).values()) == {1}


async def test_what_runs_beside_a_call_that_is_killed_goes_on_as_another_attempt(
    tmp_path: Path, reaches: Callable[..., Awaitable[None]]
) -> None:
    def step(folder: str, name: str) -> str:
        note(folder, name)
        wait_for((Path(folder) / "go").exists)
        return name

    async with cluster(threads_per_worker=2, kill_running=True) as flow:
        task = flow.function_task(step, retries=1)
        killed, beside = task(str(tmp_path), "killed"), task(str(tmp_path), "beside")
        await reaches(flow, killed, "RUNNING")
        await reaches(flow, beside, "RUNNING")
        killed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killed
        (tmp_path / "go").touch()
        assert await beside == "beside"
        assert begun(tmp_path) == {"killed 1": 1, "beside 1": 1, "beside 2": 1}


async def test_what_has_begun_does_not_begin_elsewhere_because_its_input_is_lost(
    tmp_path: Path, appears: Callable[[Path], Awaitable[None]]
) -> None:
    """Dask does not know yet that the worker has the input, and has begun."""
    folder = str(tmp_path)

    def here(folder: str) -> str:
        return str(get_worker().address)

    def make(folder: str) -> list[int]:
        return [os.getpid()] * 10_000

    def hold(folder: str) -> None:
        worker = get_worker()
        comm = worker.batched_stream.comm
        write = comm.write

        async def later(*args: Any, **options: Any) -> Any:
            await asyncio.to_thread(wait_for, (Path(folder) / "over").exists)
            return await write(*args, **options)

        comm.write = later
        (Path(folder) / "silent").touch()
        wait_for(lambda: len(worker.state.ready))

    def block(folder: str) -> None:
        (Path(folder) / "blocked").touch()
        wait_for((Path(folder) / "free").exists)

    def use(folder: str, pids: list[int]) -> int:
        note(folder, "use")
        task = current_task()
        assert task is not None
        if task.attempt == 1 and not (Path(folder) / "free").exists():
            (Path(folder) / "free").touch()
            os.kill(pids[0], signal.SIGKILL)
            wait_for(lambda: len((Path(folder) / "begun").read_text().splitlines()) > 1)
            (Path(folder) / "over").touch()
        return task.attempt

    async with cluster(n_workers=3) as flow:
        task = flow.function_task
        where = task(here)
        found: set[str] = set()
        while len(found) < 3:
            found.update(await asyncio.gather(*[where(folder) for _ in range(6)]))
        first, second, third = found
        others = [task(block, task_description={"workers": third})(folder)]
        await appears(tmp_path / "blocked")
        # First there, because the third is busy; and never on the second, which falls silent.
        made = task(make, task_description={"workers": [first, third]})(folder)
        others.append(task(block, task_description={"workers": third})(folder))
        others.append(task(hold, task_description={"workers": second})(folder))
        await appears(tmp_path / "silent")
        used = task(use, retries=1, task_description={"workers": [second, third]})(folder, made)
        assert await used == 2
        await asyncio.gather(*others)
        assert begun(tmp_path) == {"use 1": 1, "use 2": 1}


async def test_nothing_begins_on_a_worker_that_counts_as_dead(tmp_path: Path) -> None:
    """As one does whose connection has broken: what waits there was given to others."""

    def close(folder: str) -> None:
        assert close_call_file(get_worker().local_directory, "any-topic") is not None

    async with cluster() as flow:
        await flow.function_task(close)(str(tmp_path))
        with pytest.raises(BackendError, match=r"counts tcp://.* as dead"):
            await flow.function_task(note)(str(tmp_path), "late")
        assert not (tmp_path / "begun").exists()
