"""Workers that are jobs of a real Slurm, whose three nodes have networks of their own."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from polling import until
from radical.asyncflow import TaskFuture, WorkflowEngine, factory
from radical.asyncflow.errors import (
    BackendLostError,
    BackendStartError,
    DeathReason,
    DependencyFailureError,
    WorkerLostError,
)
from slurm_cluster import CORES, Node, Slurm, serve_slurm

pytestmark = pytest.mark.slow

_TOLD_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def slurm(nodes: list[Node], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    pytest.importorskip("dask_jobqueue", reason="the extra jobqueue is not installed")
    with (
        serve_slurm(tmp_path_factory.mktemp("slurm"), nodes) as cluster,
        pytest.MonkeyPatch.context() as patch,
    ):
        for key, value in cluster.environment.items():
            patch.setenv(key, value)
        yield cluster


@pytest.fixture
async def config(slurm: Slurm, tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """Return the settings of a backend whose workers each have a node."""
    await until(slurm.up)
    kwargs = {
        "cores": CORES,
        "processes": 1,
        "memory": "900MB",
        "walltime": "00:10:00",
        "n_workers": 3,
        "log_directory": str(tmp_path / "logs"),
        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
    }
    yield {"cluster_class": "dask_jobqueue.SLURMCluster", "cluster_kwargs": kwargs}
    await until(slurm.up)  # all jobs have ended


class Spread:
    """Tasks that run on all cores of all nodes until a gate opens."""

    def __init__(self, flow: WorkflowEngine, folder: Path) -> None:
        self.gate = folder / "gate"
        self.tasks: dict[str, list[TaskFuture[str]]] = {}

        @flow.function_task
        def host_when_open(gate: str, name: object) -> str:
            """Leave a file beside *gate*; return the name of this node when *gate* is there."""
            host = socket.gethostname()
            Path(f"{gate}.{name}.{host}").touch()
            while not Path(gate).exists():
                time.sleep(0.02)
            return host

        self._task = host_when_open

    async def begin(self) -> None:
        futures = [self.call(number) for number in range(3 * CORES)]
        await until(lambda: len(self.begun()) == len(futures))
        for number, host in self.begun().items():
            self.tasks.setdefault(host, []).append(futures[int(number)])

    def call(self, name: object) -> TaskFuture[str]:
        return self._task(str(self.gate), name)

    def begun(self) -> dict[str, str]:
        """Return the node of each task, by its name."""
        found = self.gate.parent.glob(f"{self.gate.name}.*")
        return {name: host for _, name, host in (path.name.split(".") for path in found)}


@asynccontextmanager
async def spread(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[WorkflowEngine, Spread]]:
    async with WorkflowEngine.create("dask", config=settings, work_dir=tmp_path / "run") as flow:
        tasks = Spread(flow, tmp_path)
        await tasks.begin()
        yield flow, tasks


async def charged(futures: list[TaskFuture[str]]) -> set[DeathReason]:
    """Return for which reasons *futures* have failed, each with its worker."""
    errors = await asyncio.gather(*futures, return_exceptions=True)
    assert {type(error) for error in errors} == {WorkerLostError}
    return {error.reason for error in errors if isinstance(error, WorkerLostError)}


def cancel_job(slurm: Slurm, node: Node) -> None:
    slurm.cancel(slurm.job_on(node.name))


def fail_node(slurm: Slurm, node: Node) -> None:
    slurm.set_node("down", node.name)


@pytest.mark.parametrize(
    ("end", "reason", "words"),
    [
        (cancel_job, DeathReason.JOB_CANCELLED, "CANCELLED"),
        (fail_node, DeathReason.NODE, "Restarts=1"),
    ],
)
async def test_the_end_of_a_job_costs_what_had_begun_there_and_is_told_with_its_cause(
    slurm: Slurm,
    nodes: list[Node],
    config: dict[str, Any],
    tmp_path: Path,
    end: Callable[[Slurm, Node], None],
    reason: DeathReason,
    words: str,
) -> None:
    async with spread(tmp_path, **config, allowed_failures=0) as (flow, tasks):
        assert {host: len(found) for host, found in tasks.tasks.items()} == {
            node.host: CORES for node in nodes
        }
        lost = tasks.tasks.pop(nodes[0].host)
        after = [flow.function_task(len)(future) for future in lost]
        waiting = [tasks.call(f"later{number}") for number in range(CORES)]
        end(slurm, nodes[0])
        assert await charged(lost) == {reason}
        for future in after:
            with pytest.raises(DependencyFailureError, match=words) as caught:
                await future
            cause = caught.value.__cause__
            assert isinstance(cause, WorkerLostError)
            assert cause.reason is reason
        tasks.gate.touch()
        left = await asyncio.gather(*waiting, *(one for of in tasks.tasks.values() for one in of))
        assert set(left) == {node.host for node in nodes[1:]}
        assert {future.attempts for future in waiting} == {1}


async def test_what_had_not_begun_goes_elsewhere_when_all_jobs_have_ended(
    slurm: Slurm, config: dict[str, Any], tmp_path: Path
) -> None:
    spare = await factory.create_backend("concurrent")
    both = [DaskExecutionBackend(**config, allowed_failures=0), spare]
    async with WorkflowEngine.create(both, failover=True, work_dir=tmp_path / "run") as flow:
        tasks = Spread(flow, tmp_path)
        await tasks.begin()
        waiting = [tasks.call(f"later{number}") for number in range(2 * CORES)]
        slurm.cancel(*slurm.jobs("R"))
        for futures in tasks.tasks.values():
            assert await charged(futures) == {DeathReason.JOB_CANCELLED}
        tasks.gate.touch()
        assert set(await asyncio.gather(*waiting)) == {socket.gethostname()}
        assert {future.attempts for future in waiting} == {1}


async def test_without_another_backend_the_loss_says_what_became_of_the_jobs(
    slurm: Slurm, config: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with spread(tmp_path, **config) as (_, tasks):
        caplog.set_level(logging.WARNING, "radical.asyncflow")  # Dask has raised that of handlers
        jobs = slurm.jobs("R")
        slurm.cancel(*jobs)
        futures = [one for of in tasks.tasks.values() for one in of] + [tasks.call("later")]
        errors = await asyncio.gather(*futures, return_exceptions=True)
        assert {type(error) for error in errors} == {BackendLostError}
        for job in jobs:
            assert f"Slurm says of job {job}: CANCELLED" in str(errors[0])
            assert f"is lost: Slurm says of job {job}: CANCELLED" in caplog.text


async def test_a_queue_that_starts_nothing_is_told_with_what_holds_the_jobs(
    slurm: Slurm, nodes: list[Node], config: dict[str, Any], tmp_path: Path
) -> None:
    slurm.set_queue("down")
    try:
        with pytest.raises(BackendStartError, match=r"job \d+: PENDING \(PartitionDown\)"):
            await WorkflowEngine.create("dask", config={**config, "startup_timeout": 4.0})
        config["cluster_kwargs"]["n_workers"] = 0
        adapt = {"minimum": 0, "maximum": 1}
        async with WorkflowEngine.create("dask", config={**config, "adapt": adapt}) as flow:
            future = flow.function_task(socket.gethostname)()
            await until(lambda: "PENDING (PartitionDown)" in str(flow.why(future)))
            (job,) = slurm.jobs("PD")
            slurm.hold(job)
            slurm.set_queue("up")
            flow.backend._session._jobs_told.forget()  # type: ignore[attr-defined]
            await until(lambda: "PENDING (JobHeld" in str(flow.why(future)))
            slurm.release(job)
            assert await future in {node.host for node in nodes}
    finally:
        slurm.set_queue("up")


@pytest.mark.soak
async def test_a_cut_for_good_costs_what_had_begun_there_and_is_told_within_a_minute(
    slurm: Slurm, nodes: list[Node], config: dict[str, Any], tmp_path: Path
) -> None:
    async with spread(tmp_path, **config, allowed_failures=0) as (_, tasks):
        lost = tasks.tasks.pop(nodes[0].host)
        waiting = [tasks.call(f"later{number}") for number in range(CORES)]
        nodes[0].cut()
        try:
            async with asyncio.timeout(_TOLD_WITHIN_S):
                assert await charged(lost) == {DeathReason.NODE}
            tasks.gate.touch()
            left = [*waiting, *(one for of in tasks.tasks.values() for one in of)]
            assert set(await asyncio.gather(*left)) == {node.host for node in nodes[1:]}
        finally:
            nodes[0].mend()


@pytest.mark.soak
async def test_a_cut_of_half_a_minute_loses_nothing(
    slurm: Slurm, nodes: list[Node], config: dict[str, Any], tmp_path: Path
) -> None:
    async with spread(tmp_path, **config) as (_, tasks):
        waiting = [tasks.call(f"later{number}") for number in range(CORES)]
        nodes[0].cut()
        try:
            await asyncio.sleep(30)
        finally:
            nodes[0].mend()
        tasks.gate.touch()
        futures = [*waiting, *(one for of in tasks.tasks.values() for one in of)]
        assert set(await asyncio.gather(*futures)) <= {node.host for node in nodes}


@pytest.mark.soak
async def test_a_cluster_that_follows_the_load_gets_jobs_in_place_of_those_that_are_gone(
    slurm: Slurm, config: dict[str, Any], tmp_path: Path
) -> None:
    config["cluster_kwargs"]["n_workers"] = 0
    adapt = {"minimum": 0, "maximum": 3}
    async with spread(tmp_path, **config, adapt=adapt, allowed_failures=0) as (_, tasks):
        waiting = [tasks.call(f"later{number}") for number in range(CORES)]
        slurm.cancel(*slurm.jobs("R"))
        for futures in tasks.tasks.values():
            assert await charged(futures) == {DeathReason.JOB_CANCELLED}
        tasks.gate.touch()
        assert len(await asyncio.gather(*waiting)) == CORES


@pytest.mark.soak
async def test_jobs_that_end_before_their_worker_comes_are_a_lost_backend(
    slurm: Slurm, config: dict[str, Any]
) -> None:
    config["cluster_kwargs"] |= {"n_workers": 0, "job_script_prologue": ["exit 3"]}
    adapt = {"minimum": 0, "maximum": 3}
    async with WorkflowEngine.create("dask", config={**config, "adapt": adapt}) as flow:
        future = flow.function_task(socket.gethostname)()
        async with asyncio.timeout(_TOLD_WITHIN_S):
            with pytest.raises(BackendLostError, match="FAILED, NonZeroExitCode"):
                await future
