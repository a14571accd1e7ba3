"""Tasks with ranks on Dask workers: commands and functions that a real MPI launcher starts."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from distributed import LocalCluster
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import (
    ConfigurationError,
    RemoteTraceback,
    ResourceError,
    UnsupportedOptionError,
    WorkerLostError,
)
from radical.asyncflow.testing import LeakGuard
from rank_functions import (
    BURNT_S,
    HELD_BYTES,
    comm,
    die_at_last,
    fail_at_last,
    gone,
    is_there,
    meet,
    read,
    use_of_ranks,
    wait_with,
)

TWO = {"ranks": 2}


@pytest.fixture
async def ranked() -> AsyncIterator[WorkflowEngine]:
    """Run an engine on a cluster of two processes, one of which takes two ranks."""
    async with LeakGuard():
        engine = await WorkflowEngine.create(
            "dask", config={"n_workers": 2, "dashboard_address": None, "grace": 1.0}
        )
        yield engine
        await engine.shutdown()


def pids() -> int:
    comm().barrier()
    return os.getpid()


def total(array: Any, number: int) -> tuple[int, float]:
    array[0] = comm().rank  # each rank has its own
    return comm().rank, float(comm().allreduce(array.sum()) + number)


def add(one: Any, other: Any) -> Any:
    return one + other


async def test_commands_and_functions_have_ranks(ranked: WorkflowEngine) -> None:
    code = "from mpi4py import MPI; w = MPI.COMM_WORLD; print(w.rank, w.allreduce(1))"
    command = ranked.executable_task(resources=TWO)(lambda: [sys.executable, "-c", code])
    assert await command() == "0 2\n1 2\n"
    array, number = numpy.ones(100_000), ranked.function_task(add)(1, 2)
    function = ranked.function_task(resources=TWO)(total)
    # The first element is the number of the rank: 0 and 1.
    assert await function(array, number) == [(0, 200_002.0), (1, 200_002.0)]
    first = ranked.function_task(resources=TWO, mpi_result="root")(total)
    assert await first(array, 0) == (0, 199_999.0)
    assert await ranked.function_task(add)(function(array, 0), []) == [
        (0, 199_999.0),
        (1, 199_999.0),
    ]


async def test_a_group_serves_many_calls_and_ends_with_the_backend() -> None:
    async with (
        LeakGuard(),
        WorkflowEngine.create(
            "dask", config={"processes": False, "threads_per_worker": 2, "dashboard_address": None}
        ) as flow,
    ):
        task = flow.function_task(resources=TWO)(pids)
        first = await task()
        assert [await task() for _ in range(200)] == [first] * 200
    assert not any(map(is_there, first))


async def test_a_group_on_another_cluster_ends_with_the_backend() -> None:
    async with (
        LocalCluster(
            n_workers=1, resources={"CPU": 2}, asynchronous=True, dashboard_address=None
        ) as cluster,
        WorkflowEngine.create("dask", config={"cluster": cluster}) as flow,
    ):
        ranks = await flow.function_task(resources=TWO)(pids)()
        assert all(map(is_there, ranks))
        await flow.shutdown()
        await gone(ranks)


async def test_a_rank_that_raises_or_dies_is_named(ranked: WorkflowEngine) -> None:
    with pytest.raises(LookupError, match="of rank 1") as raised:
        await ranked.function_task(resources=TWO)(fail_at_last)()
    assert raised.value.__notes__ == ["raised by rank 1 of 2"]
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert "in fail_at_last" in str(raised.value.__cause__)
    with pytest.raises(WorkerLostError, match="rank 1 of 2, was ended by signal 9"):
        await ranked.function_task(resources=TWO)(die_at_last)()


async def test_two_groups_run_at_once(tmp_path: Path) -> None:
    config = {"processes": False, "threads_per_worker": 4, "dashboard_address": None}
    async with LeakGuard(), WorkflowEngine.create("dask", config=config) as flow:
        task = flow.function_task(resources=TWO)(meet)
        one, other = task(str(tmp_path), "one", "other"), task(str(tmp_path), "other", "one")
        assert await asyncio.gather(one, other) == [[2, 2]] * 2


async def test_a_cancel_ends_all_ranks(ranked: WorkflowEngine, tmp_path: Path) -> None:
    function = ranked.function_task(resources=TWO)(wait_with)(str(tmp_path / "function"))
    ranks = await read(tmp_path / "function", 2)
    function.cancel()
    await gone(ranks)
    line = f"echo $$ >>{tmp_path}/command; exec sleep 600"
    command = ranked.executable_task(resources=TWO)(lambda: line)()
    ranks = await read(tmp_path / "command", 2)
    command.cancel()
    with pytest.raises(asyncio.CancelledError):
        await command
    assert not any(map(is_there, ranks))


async def test_what_cannot_work_is_refused_at_the_call(
    ranked: WorkflowEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ResourceError, match=r"CPU=3 for 3 ranks \(a worker has 2\)"):
        ranked.function_task(resources={"ranks": 3})(pids)()
    with pytest.raises(UnsupportedOptionError, match="a service has one rank"):
        ranked.executable_task(resources=TWO, service=True)(lambda: "sleep 600")()
    with pytest.raises(ConfigurationError, match="does not say where"):
        await WorkflowEngine.create("dask", config={"mpi_launcher": "mpiexec {cores}"})
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UnsupportedOptionError, match="pip install mpich"):
        ranked.function_task(resources=TWO)(pids)()


async def test_the_record_has_what_all_ranks_used_together(tmp_path: Path) -> None:
    config = {"n_workers": 2, "dashboard_address": None}
    for usage in await use_of_ranks("dask", config, tmp_path / "journal"):
        assert usage.cpu_seconds >= 2 * BURNT_S
        if sys.platform == "linux":
            assert HELD_BYTES < usage.peak_memory < 2 * HELD_BYTES + 100_000_000
            assert usage.read_bytes is not None
