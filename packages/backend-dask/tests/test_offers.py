"""The resources that the workers of a local cluster offer, and the tasks that they bound."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from asyncflow_backend_dask._cluster import offers
from asyncflow_backend_dask._cluster.offers import WorkerOffers
from asyncflow_backend_dask._program.jobs import resources_of
from asyncflow_backend_dask.config import DaskConfig
from fake_gpus import Tools, gpu_tools
from radical.asyncflow import WorkflowEngine, current_task
from radical.asyncflow.backend import TaskKind, TaskSpec
from radical.asyncflow.errors import ConfigurationError, ResourceError
from radical.asyncflow.model import Resources

__all__ = ["gpu_tools"]

GB = 10**9


@pytest.fixture(autouse=True)
def machine(gpu_tools: Tools, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """A machine with 16 cores, 64 GB, and the GPUs that a test adds."""
    monkeypatch.setattr(offers, "usable_cores", lambda: 16)
    monkeypatch.setattr(offers, "CPU_COUNT", 16)
    monkeypatch.setattr(offers, "MEMORY_LIMIT", 64 * GB)
    return gpu_tools


def offered(**settings: Any) -> list[dict[str, float]]:
    own = WorkerOffers(DaskConfig(**settings))
    return [own.of(number) for number in range(own.workers)]


def check(backend: DaskExecutionBackend, **asked: Any) -> None:
    spec = TaskSpec("it", TaskKind.FUNCTION, print, resources=Resources(**asked))
    backend.check(spec)


def test_workers_share_the_machine() -> None:
    two = offered(n_workers=2, threads_per_worker=4)
    assert two == [{"CPU": 4, "MEMORY": 32 * GB}] * 2
    threads = offered(processes=False, threads_per_worker=3)
    assert threads == [{"CPU": 3, "MEMORY": 64 * GB}]
    assert {offer["MEMORY"] for offer in offered(memory_limit="auto")} == {4 * GB}
    assert {offer["MEMORY"] for offer in offered(memory_limit="3GB")} == {3 * GB}
    assert {offer["MEMORY"] for offer in offered(memory_limit=0)} == {4 * GB}


@pytest.mark.parametrize("cores", [1, 2, 3, 5, 8, 16])
def test_tasks_with_several_cores_fill_the_machine_and_no_more(cores: int) -> None:
    able = [offer for offer in offered() if offer["CPU"] >= cores]
    assert len(able) == 16 // cores


@pytest.mark.parametrize(
    ("count", "workers", "dealt"),
    [
        (1, 4, [(0,)]),
        (2, 2, [(0,), (1,)]),
        (5, 2, [(0, 1, 2), (3, 4)]),
        (0, 2, []),
    ],
)
def test_gpus_are_dealt_to_workers(
    count: int, workers: int, dealt: list[Any], machine: Tools
) -> None:
    if count:
        machine.nvidia(count)
    own = WorkerOffers(DaskConfig(n_workers=workers))
    assert own.gpus == dealt
    assert [own.of(number).get("GPU", 0) for number in range(workers)] == [
        *map(len, dealt),
        *[0] * (workers - len(dealt)),
    ]


def test_several_workers_may_share_a_gpu(machine: Tools) -> None:
    machine.nvidia(2)
    own = WorkerOffers(DaskConfig(n_workers=6, resources={"GPU": 1 / 3}))
    assert own.gpus == [(0,)] * 3 + [(1,)] * 3
    own = WorkerOffers(DaskConfig(n_workers=2, resources={"GPU": 1, "CPU": 3}))
    assert (own.gpus, own.of(0)["CPU"], own.of(1)["GPU"]) == ([(0,), (1,)], 3, 1)


def test_more_gpus_than_there_are_cannot_be_given(machine: Tools) -> None:
    machine.nvidia(1)
    with pytest.raises(ConfigurationError, match=r"takes 4 GPUs, and there are 1 \(1 × NVIDIA"):
        DaskExecutionBackend(n_workers=4, resources={"GPU": 1})


def test_resources_that_no_own_worker_has_are_refused_at_the_call(machine: Tools) -> None:
    machine.nvidia(1)
    backend = DaskExecutionBackend(n_workers=2, memory_limit="9GB")
    assert backend.capabilities.resources == {"cores", "gpus", "memory", "ranks"}
    assert machine.runs("nvidia-smi") == 0
    check(backend, cores=2, gpus=1, memory=9 * GB)
    check(backend, gpus=0.25)
    with pytest.raises(ResourceError, match=r"GPU=2 \(a worker has 1\), CPU=3 \(a worker has 2\)"):
        check(backend, cores=3, gpus=2)
    with pytest.raises(ResourceError, match=r"by n_workers, threads_per_worker, memory_limit"):
        check(backend, memory=10 * GB)
    assert machine.runs("nvidia-smi") == 1


def test_a_refusal_says_where_was_looked_for_gpus() -> None:
    with pytest.raises(ResourceError, match=r"GPU=1 \(a worker has 0\) \(none: nvidia-ml-py"):
        check(DaskExecutionBackend(n_workers=2), gpus=1)


@pytest.mark.parametrize(("part", "count"), [(0.1, 10), (1 / 3, 3), (0.7, 1), (0.001, 1000)])
def test_the_sums_of_the_scheduler_are_exact(part: float, count: int) -> None:
    (amount,) = resources_of(Resources(gpus=part), count_cores=False).values()
    used = 0.0
    for _ in range(count):
        used += amount
    assert used <= 1
    for _ in range(count):
        used -= amount
    assert used == 0


def look() -> tuple[int, Any, str | None]:
    task = current_task()
    assert task is not None
    return os.getpid(), task.gpus, os.environ.get("CUDA_VISIBLE_DEVICES")


async def test_tasks_with_resources_run_on_a_cluster_that_nobody_configured(
    machine: Tools,
) -> None:
    machine.nvidia(1)
    settings = {"n_workers": 2, "dashboard_address": None}
    async with WorkflowEngine.create("dask", config=settings) as flow:
        whole = flow.function_task(look, resources={"gpus": 1, "cores": 2, "memory": "1MB"})
        part = flow.function_task(look, resources={"gpus": 0.25})
        seen = await asyncio.gather(*[whole() for _ in range(4)], *[part() for _ in range(4)])
        ((_, gpus, visible),) = set(seen)  # all on the one worker that is warm on it
        assert (gpus, visible) == ((0,), "0")
        say = flow.executable_task(lambda: "printenv CUDA_VISIBLE_DEVICES", resources={"gpus": 0.5})
        assert (await say()).strip() == "0"


async def test_a_task_with_several_cores_shares_a_worker_with_fewer_others() -> None:
    settings = {"processes": False, "threads_per_worker": 4, "dashboard_address": None}
    async with WorkflowEngine.create("dask", config=settings) as flow:
        backend: Any = flow.backend
        session = backend._session
        assert not session._counts_cores
        assert await flow.function_task(pow, resources={"cores": 4})(2, 3) == 8
        assert session._counts_cores
        assert await flow.function_task(pow)(2, 3) == 8
