"""Values that stay on workers, calls that share a Dask task, and where tasks run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from collections import namedtuple
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from backend_driver import Start
from polling import until
from radical.asyncflow import WorkflowEngine, cancelled
from radical.asyncflow.backend import TaskRequest
from radical.asyncflow.errors import (
    DependencyFailureError,
    ResourceError,
    SerializationError,
)
from radical.asyncflow.testing import _functions as functions
from radical.asyncflow.worker import current_task


def scheduler(flow: WorkflowEngine) -> Any:
    backend: Any = flow.backend
    return backend._session._client.scheduler


async def test_a_chain_over_a_big_array_brings_no_array_here() -> None:
    """The workers count what they sent; what they sent to each other is left out."""

    def served(dask_worker: Any) -> int:
        sent = dask_worker.transfer_outgoing_log
        return sum(entry["total"] for entry in sent if entry["who"] not in addresses)

    settings = {"n_workers": 2, "dashboard_address": None}
    async with WorkflowEngine.create("dask", config=settings) as flow:
        value = flow.function_task(np.zeros)(1_250_000)
        step = flow.function_task(lambda array: array + 1)
        for _ in range(20):
            value = step(value)
        assert await flow.function_task(lambda array: float(array[7]))(value) == 20.0
        backend: Any = flow.backend
        addresses = set((await scheduler(flow).identity(n_workers=-1))["workers"])
        sent = await backend._session._client._run(served)
        assert sum(sent.values()) < 1_000_000
        # The count is true: now one array comes here.
        assert (await value).nbytes == 10_000_000
        sent = await backend._session._client._run(served)
        assert sum(sent.values()) >= 10_000_000


async def test_values_that_nobody_holds_are_forgotten_on_the_cluster(flow: WorkflowEngine) -> None:
    make = flow.function_task(bytes)
    value = make(200_000)
    for _ in range(5):
        value = flow.function_task(lambda data: data + b"x")(value)
    assert len(await value) == 200_005
    del value

    async def empty() -> bool:
        return not await scheduler(flow).nbytes(keys=None)

    await until(empty)


async def test_equal_calls_are_two_tasks(flow: WorkflowEngine, tmp_path: Path) -> None:
    number = flow.function_task(functions.next_number)
    assert {await number(str(tmp_path)), await number(str(tmp_path))} == {1, 2}


async def test_fields_that_a_later_contract_adds_are_ignored(
    start: Start[DaskExecutionBackend],
) -> None:
    later = namedtuple("later", [*TaskRequest._fields, "more"])
    driver = await start(processes=False, dashboard_address=None)
    request: Any = later(*driver.function(pow, 2, 5), "more")
    (report,) = await driver.run(request)
    assert await report.value.fetch() == 32


async def test_keys_can_be_read_by_task_name(
    flow: WorkflowEngine,
    tmp_path: Path,
    reaches: Callable[..., Awaitable[None]],
) -> None:
    future = flow.function_task(functions.hold_blocking, name="assemble")(str(tmp_path))
    await reaches(flow, future, "RUNNING")
    (keys,) = (await scheduler(flow).processing()).values()
    assert [key.split("-")[0] for key in keys] == ["assemble"]
    open_gate(tmp_path)
    assert await future == "task"


def open_gate(folder: Path) -> None:
    (folder / "gate").touch()


async def test_short_calls_share_a_dask_task_and_nobody_sees_it(
    flow: WorkflowEngine,
    sizes_of: Callable[[WorkflowEngine], list[int]],
    states_of: Callable[..., list[str]],
) -> None:
    events: list[Any] = []
    flow.observe(events.extend)

    def odd_fails(number: int) -> int:
        if number % 2:
            raise ValueError(number)
        return number

    task = flow.function_task(odd_fails)
    await asyncio.gather(*[task(at) for at in range(0, 100, 2)])
    sizes = sizes_of(flow)
    futures = [task(at) for at in range(400)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert max(sizes) > 1
    for at, (future, result) in enumerate(zip(futures, results, strict=True)):
        assert future.state == ("FAILED" if at % 2 else "DONE")
        assert result.args == (at,) if at % 2 else result == at
    assert states_of(events, futures[0]) == ["PENDING", "READY", "SUBMITTED", "RUNNING", "DONE"]


async def test_a_call_that_takes_long_gives_back_those_that_were_packed_behind_it(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    """Otherwise a call that waits for one behind it would wait for ever."""
    number = flow.function_task(lambda at, place: functions.hold_blocking(place) if at < 0 else at)
    await asyncio.gather(*[number(at, str(tmp_path)) for at in range(50)])
    waiting = [number(-1 if at == 0 else at, str(tmp_path)) for at in range(200)]
    rest = await asyncio.wait_for(asyncio.gather(*waiting[1:]), 200)
    assert rest == list(range(1, 200))
    open_gate(tmp_path)
    assert await waiting[0] == "task"


async def test_a_packed_call_can_be_cancelled_alone(flow: WorkflowEngine) -> None:
    task = flow.function_task(functions.pause)
    await asyncio.gather(*[task(0.001) for _ in range(20)])
    futures = [task(0.001) for _ in range(200)]
    await asyncio.sleep(0)
    for future in futures[1::2]:
        future.cancel()
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert results[::2] == [0.001] * 100
    assert all(isinstance(result, asyncio.CancelledError) for result in results[1::2])


async def test_a_running_function_is_told_of_its_cancellation(
    flow: WorkflowEngine,
    tmp_path: Path,
    appears: Callable[[Path], Awaitable[None]],
) -> None:
    def work(place: str) -> None:
        (Path(place) / "began").touch()
        while not cancelled():
            time.sleep(0.01)
        (Path(place) / "told").touch()

    future = flow.function_task(work)(str(tmp_path))
    await appears(tmp_path / "began")
    future.cancel()
    await appears(tmp_path / "told")
    assert future.cancelled()


async def test_a_large_function_and_large_arguments_arrive(flow: WorkflowEngine) -> None:
    table = np.arange(100_000)
    look = flow.function_task(lambda at: int(table[at]))
    assert await asyncio.gather(*[look(at) for at in (1, 10, 99_999)]) == [1, 10, 99_999]
    assert await flow.function_task(len)(bytes(5_000_000)) == 5_000_000


async def test_an_array_that_travelled_can_be_changed() -> None:
    settings = {"n_workers": 1, "dashboard_address": None}

    def change(array: Any) -> Any:
        array[0] = 7
        return array

    async with WorkflowEngine.create("dask", config=settings) as flow:
        result = await flow.function_task(change)(np.zeros(100_000))
        result[1] = 8
        assert result[:3].tolist() == [7, 8, 0]


async def test_a_whole_native_graph_fails_with_its_root(flow: WorkflowEngine) -> None:
    bad = flow.function_task(functions.fail)("root")
    value = bad
    for _ in range(10):
        value = flow.function_task(functions.identity)(value)
    with pytest.raises(DependencyFailureError) as caught:
        await value
    assert isinstance(caught.value.__cause__, ValueError)


async def test_priority_and_workers_reach_dask(flow: WorkflowEngine) -> None:
    (address,) = (await scheduler(flow).identity(n_workers=-1))["workers"]
    here = flow.function_task(functions.identity, task_description={"workers": address})
    urgent = flow.function_task(functions.identity, task_description={"priority": 5})
    assert await asyncio.gather(here("here"), urgent("urgent")) == ["here", "urgent"]


async def test_resources_that_no_worker_has_are_an_error_after_the_patience(
    flow: WorkflowEngine,
) -> None:
    backend: Any = flow.backend
    other = DaskExecutionBackend(address=backend._lease.address, resource_patience=0.3, name="far")
    async with WorkflowEngine.create(other) as far:
        with pytest.raises(ResourceError, match="GPU=3, CPU=1, which no worker had"):
            await asyncio.wait_for(far.function_task(pow, resources={"gpus": 3})(2, 2), 200)
        assert await far.function_task(pow)(2, 2) == 4


async def test_resources_bound_what_runs_at_once(tmp_path: Path) -> None:
    settings = {
        "processes": False,
        "threads_per_worker": 4,
        "resources": {"GPU": 1},
        "dashboard_address": None,
    }
    async with WorkflowEngine.create("dask", config=settings) as flow:
        overlap = flow.function_task(functions.overlap, resources={"gpus": 1})
        assert await asyncio.gather(*[overlap(str(tmp_path)) for _ in range(4)]) == [1] * 4


async def test_the_same_workflow_gives_the_same_on_concurrent_and_dask() -> None:
    async def workflow(flow: WorkflowEngine) -> list[Any]:
        square = flow.function_task(lambda number: number * number)
        add = flow.function_task(lambda *numbers: sum(numbers))
        say = flow.executable_task(lambda text: ["echo", str(text)])
        fail = flow.function_task(functions.fail)

        @flow.block
        async def both(number: int) -> Any:
            return await add(square(number), square(number + 1))

        total = add(*[square(at) for at in range(10)])
        spoken = say(total)
        ends = await asyncio.gather(
            total, spoken, both(3), fail("it"), square(fail("root")), return_exceptions=True
        )
        return [repr(end) for end in ends]

    results = []
    for name, settings in (
        ("concurrent", {"max_workers": 2}),
        ("dask", {"n_workers": 2, "dashboard_address": None}),
    ):
        async with WorkflowEngine.create(name, config=settings) as flow:
            results.append(await workflow(flow))
    assert results[0] == results[1]


def seen(folder: str, wait_for: int) -> tuple[tuple[int, ...], str | None, str | None]:
    """Return what a call sees of its GPUs, once *wait_for* calls run at the same time."""
    task = current_task()
    assert task is not None
    (Path(folder) / f"{task.task_id}").touch()
    deadline = time.monotonic() + 200
    while len(list(Path(folder).iterdir())) < wait_for and time.monotonic() < deadline:
        time.sleep(0.01)
    command = ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    inherited = subprocess.run(command, capture_output=True, text=True, check=True)
    return task.gpus, os.environ.get("CUDA_VISIBLE_DEVICES"), inherited.stdout.strip()


async def test_a_call_sees_the_gpus_of_its_own_worker_alone(tmp_path: Path) -> None:
    settings = {"n_workers": 2, "resources": {"GPU": 2}, "dashboard_address": None}
    async with WorkflowEngine.create("dask", config=settings) as flow:
        look = flow.function_task(seen, resources={"gpus": 2})
        both = await asyncio.gather(look(str(tmp_path), 2), look(str(tmp_path), 2))
        assert sorted(both) == [((0, 1), "0,1", "0,1"), ((2, 3), "2,3", "2,3")]
        say = flow.executable_task(lambda: "echo $CUDA_VISIBLE_DEVICES", resources={"gpus": 1})
        assert (await say()).strip() in {"0", "2"}
        # A call that asks for none sees what its worker sees.
        visible = await flow.function_task(os.getenv)("CUDA_VISIBLE_DEVICES")
        assert visible in {"0,1", "2,3"}


async def test_gpus_are_taken_from_those_that_the_worker_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    settings = {
        "processes": False,
        "threads_per_worker": 2,
        "resources": {"GPU": 2},
        "dashboard_address": None,
    }
    async with WorkflowEngine.create("dask", config=settings) as flow:
        look = flow.function_task(seen, resources={"gpus": 1})
        both = await asyncio.gather(look(str(tmp_path), 2), look(str(tmp_path), 2))
        # Threads share an environment, so it stays as it is.
        assert sorted(both) == [((4,), "4,7", "4,7"), ((7,), "4,7", "4,7")]
        say = flow.executable_task(lambda: "echo $CUDA_VISIBLE_DEVICES", resources={"gpus": 2})
        assert (await say()).strip() == "4,7"


async def test_a_large_result_that_cannot_be_pickled_fails_its_own_task(
    flow: WorkflowEngine,
) -> None:
    made = flow.function_task(lambda: [bytes(100_000), threading.Lock()])()
    with pytest.raises(SerializationError, match="the result cannot travel"):
        await made
    kept = flow.function_task(lambda: [np.zeros(100_000), lambda: 1])()
    assert (await kept)[1]() == 1


async def test_a_chain_of_short_calls_is_one_dask_task_and_nobody_sees_it(
    flow: WorkflowEngine,
    sizes_of: Callable[[WorkflowEngine], list[int]],
    states_of: Callable[..., list[str]],
) -> None:
    events: list[Any] = []
    flow.observe(events.extend)

    def grow(number: int) -> int:
        if number == 70:
            raise ValueError("no more than 70")
        return number + 1

    step = flow.function_task(grow)
    await asyncio.gather(*[step(at) for at in range(20)])
    sizes = sizes_of(flow)
    chain = [step(0)]
    for _ in range(99):
        chain.append(step(chain[-1]))
    results = await asyncio.gather(*chain, return_exceptions=True)
    assert max(sizes) > 10
    assert results[:70] == list(range(1, 71))
    assert isinstance(results[70], ValueError)
    for call, result in zip(chain[71:], results[71:], strict=True):
        assert call.state == "FAILED"
        assert isinstance(result, DependencyFailureError)
        assert result.__cause__ is results[70]
    assert states_of(events, chain[10]) == ["PENDING", "READY", "SUBMITTED", "RUNNING", "DONE"]


async def test_a_slow_call_of_a_chain_keeps_nobody_from_the_results_before_it(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    def advance(number: int, place: str) -> int:
        if number == 5:
            functions.hold_blocking(place)
        return number + 1

    step = flow.function_task(advance)
    await asyncio.gather(*[step(100, str(tmp_path)) for _ in range(20)])
    chain = [step(0, str(tmp_path))]
    for _ in range(9):
        chain.append(step(chain[-1], str(tmp_path)))
    assert await asyncio.wait_for(chain[4], 200) == 5
    # A call that comes late uses what is there.
    late = flow.function_task(lambda number: -number)(chain[2])
    await asyncio.sleep(0)
    open_gate(tmp_path)
    assert await asyncio.wait_for(asyncio.gather(late, *chain), 200) == [-3, *range(1, 11)]


async def test_a_call_of_a_chain_can_be_cancelled(flow: WorkflowEngine) -> None:
    step = flow.function_task(functions.identity)
    await asyncio.gather(*[step(at) for at in range(20)])
    chain = [step("value")]
    for _ in range(20):
        chain.append(step(chain[-1]))
    await asyncio.sleep(0)
    chain[10].cancel()
    results = await asyncio.gather(*chain, return_exceptions=True)
    assert results[:10] == ["value"] * 10
    assert all(isinstance(result, BaseException) for result in results[10:])
