"""Tasks on a block of this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest
from asyncflow_backend_parsl import ParslExecutionBackend
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
from polling import until
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import Resources
from radical.asyncflow.errors import (
    BackendLostError,
    RemoteError,
    ResourceError,
    UnsupportedOptionError,
    WorkerLostError,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


class LockedError(Exception):
    """An exception that cannot be unpickled."""

    def __init__(self, text: str, *, code: int) -> None:
        super().__init__(text)
        self.code = code


def _files(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


async def test_values_errors_and_commands_are_as_everywhere(local_flow: WorkflowEngine) -> None:
    flow = local_flow

    @flow.function_task
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    @flow.function_task
    def fail() -> None:
        raise LockedError("no way", code=3)

    @flow.executable_task
    def command(status: int) -> str:
        return f"echo out; echo err >&2; exit {status}"

    assert await double(double(double(1))) == 8
    with pytest.raises((LockedError, RemoteError), match="no way"):
        await fail()
    assert await command(0) == "out\n"


async def test_a_large_array_arrives_writable_both_ways(local_flow: WorkflowEngine) -> None:
    @local_flow.function_task
    def add_one(array: Any) -> Any:
        array += 1
        return array

    array = numpy.zeros(2_000_000)
    result = await add_one(add_one(array))
    result += 1
    assert result.sum() == 3 * array.size
    assert array.sum() == 0


async def test_a_crash_costs_the_task_alone_and_names_the_signal(
    local_flow: WorkflowEngine,
) -> None:
    @local_flow.function_task
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @local_flow.function_task
    def live(number: int) -> int:
        return number

    outcomes = await asyncio.gather(die(), *map(live, range(50)), return_exceptions=True)
    assert isinstance(outcomes[0], WorkerLostError)
    assert outcomes[0].signal == signal.SIGKILL
    assert outcomes[1:] == list(range(50))


async def test_a_cancelled_command_is_ended_with_all_that_it_started(
    local_flow: WorkflowEngine, tmp_path: Path
) -> None:
    file = tmp_path / "pids"

    @local_flow.executable_task
    def spread() -> str:
        return f"sleep 1000 & echo $! $$ > {file}.part; mv {file}.part {file}; wait"

    future = spread()
    await until(file.exists)
    future.cancel()
    pids = list(map(int, file.read_text().split()))
    await until(lambda: not any(map(psutil.pid_exists, pids)))


async def test_a_chain_stays_on_a_node_and_a_failure_in_it_is_told(
    local_flow: WorkflowEngine,
) -> None:
    @local_flow.function_task
    def step(number: int) -> int:
        if number == 20:
            raise ValueError("at twenty")
        return number + 1

    future = step(0)
    for _ in range(15):
        future = step(future)
    assert await future == 16
    for _ in range(15):
        future = step(future)
    with pytest.raises(Exception, match="at twenty"):
        await future


async def test_a_task_that_fits_on_no_node_is_refused_at_the_call(
    local_flow: WorkflowEngine,
) -> None:
    task = local_flow.function_task(int, resources=Resources(gpus=1000))
    with pytest.raises(ResourceError, match="1000 GPUs"):
        await task()


class Keeper:
    """The class of a service."""

    def add_one(self, array: Any) -> Any:
        array += 1
        return array


async def test_a_large_array_goes_to_a_service_and_back(local_flow: WorkflowEngine) -> None:
    keeper = local_flow.service(Keeper)()
    array = numpy.zeros(6_000_000)
    result = await keeper.add_one(keeper.add_one(array))
    result += 1
    assert result.sum() == 3 * array.size
    await keeper.stop()


async def test_a_service_with_ranks_is_refused_at_the_call(local_flow: WorkflowEngine) -> None:
    with pytest.raises(UnsupportedOptionError, match="a service has one rank"):
        await local_flow.service(Keeper, resources={"ranks": 2})()


async def test_log_records_reach_the_logging_of_the_program(
    local_flow: WorkflowEngine, caplog: pytest.LogCaptureFixture
) -> None:
    @local_flow.function_task
    def speak() -> None:
        logging.getLogger("a.task").warning("from a node")

    await speak()
    await until(lambda: any(record.name == "a.task" for record in caplog.records))


async def test_several_engines_do_not_know_of_each_other_and_leave_nothing(
    local_flow: WorkflowEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = {"max_workers_per_node": 3, "cores_per_worker": 2, "grace": 1.0}
    async with WorkflowEngine.create("parsl", config=config) as other:
        assert (
            await other.function_task(os.getppid)() != await local_flow.function_task(os.getppid)()
        )
        assert other.backend.capacity() == 6
        two_slots = other.function_task(int, resources=Resources(cores=4))
        assert await two_slots("7") == 7
    assert [path for path in _files(tmp_path) if "parsl" in path.name] == []


async def test_the_end_of_the_process_that_holds_parsl_is_told_and_ends_the_nodes() -> None:
    backend = ParslExecutionBackend(max_workers_per_node=2, grace=1.0)
    async with WorkflowEngine.create(backend=backend) as flow:
        node = await flow.function_task(os.getppid)()
        begun = flow.function_task(time.sleep)(3600)
        assert backend._host is not None
        os.kill(backend._host._process.pid, signal.SIGKILL)
        with pytest.raises(BackendLostError, match="the process that held Parsl ended"):
            await begun
        await until(lambda: not psutil.pid_exists(node))


async def test_a_configuration_of_parsl_is_used_as_it_is() -> None:
    provider = LocalProvider(max_blocks=1, init_blocks=1, worker_init="export COLOUR=blue")
    executor = HighThroughputExecutor(
        label="cpu",
        provider=provider,
        address="127.0.0.1",
        worker_port_range=(50_000, 51_000),
        max_workers_per_node=2,
    )
    backend = ParslExecutionBackend(config=Config(executors=[executor]))
    async with WorkflowEngine.create(backend=backend) as flow:
        assert await flow.function_task(os.getenv)("COLOUR") == "blue"
        assert backend.capacity() == 2
        listens = backend._channel.address([])
        assert {listens.port, listens.lifeline} <= set(range(50_000, 51_000))


async def test_a_block_whose_start_fails_is_named_with_its_own_words() -> None:
    backend = ParslExecutionBackend(worker_init="echo no such module >&2; exit 7")
    async with WorkflowEngine.create(backend=backend) as flow:
        with pytest.raises(BackendLostError, match="no such module"):
            await flow.function_task(int)()
