"""Fixtures of the tests of this backend, beside those that all backends share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from backend_driver import Start, appears, drivers, empty_folder, leak_guard
from distributed.utils import offload
from radical.asyncflow import TaskFuture, WorkflowEngine
from radical.asyncflow.testing import LeakGuard
from slurm_cluster import cut_off_node_if_allowed, three_nodes
from time_limits import give_time

__all__ = ["appears", "cut_off_node_if_allowed", "empty_folder", "leak_guard", "three_nodes"]

_TEST_TIMEOUT_S = 300  # on a busy machine a worker may take half a minute to start
_STATE_TIMEOUT_S = 200
_ELSEWHERE = {"address", "client", "cluster", "cluster_class", "scheduler_file", "adapt"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    give_time(items, Path(__file__).parent, _TEST_TIMEOUT_S)


@pytest.fixture(scope="session", autouse=True)
def dask_threads() -> None:
    """Start the threads that Dask keeps for the whole process, before any leak guard looks."""
    asyncio.run(offload(int))


@pytest.fixture
async def start(tmp_path: Path, empty_folder: Path) -> AsyncIterator[Start[DaskExecutionBackend]]:
    """Make and start a backend with given settings; nothing of it is left afterwards."""

    def make(*args: Any, **settings: Any) -> DaskExecutionBackend:
        own = {} if settings.keys() & _ELSEWHERE else {"n_workers": 2, "dashboard_address": None}
        return DaskExecutionBackend(*args, **{"grace": 1.0, **own, **settings})

    async with drivers(make, tmp_path) as begin:
        yield begin


@pytest.fixture
async def flow() -> AsyncIterator[WorkflowEngine]:
    """Run an engine on a cluster of threads in this process, which starts at once."""
    settings = {"processes": False, "threads_per_worker": 2, "dashboard_address": None}
    async with LeakGuard():
        engine = await WorkflowEngine.create("dask", config=settings)
        yield engine
        await engine.shutdown()


@pytest.fixture
def reaches() -> Callable[[WorkflowEngine, TaskFuture[Any], str], Awaitable[None]]:
    """Wait until a task has reached a state, without asking for its value."""

    async def wait(flow: WorkflowEngine, future: TaskFuture[Any], state: str) -> None:
        reached = asyncio.Event()

        def look(_: Any = None) -> None:
            if future.state == state:
                reached.set()

        stop = flow.observe(look)
        look()
        async with asyncio.timeout(_STATE_TIMEOUT_S):
            await reached.wait()
        stop()

    return wait


@pytest.fixture
def states_of() -> Callable[[Iterable[Any], TaskFuture[Any]], list[str]]:
    """List the states that a task has entered, by the events that were observed."""

    def select(events: Iterable[Any], future: TaskFuture[Any]) -> list[str]:
        number = int(future.id.removeprefix("task."))
        return [event.state.name for event in events if event.task_id == number]

    return select


@pytest.fixture
def sizes_of() -> Callable[[WorkflowEngine], list[int]]:
    """List how many calls are in each Dask task that is sent from now on."""

    def spy_on(flow: WorkflowEngine) -> list[int]:
        backend: Any = flow.backend
        graphs = backend._session._graphs
        sizes: list[int] = []
        send = graphs.send

        def spy(*args: Any) -> Any:
            sent, unsent = send(*args)
            sizes.extend(len(task.jobs) for task in sent)
            return sent, unsent

        graphs.send = spy
        return sizes

    return spy_on
