"""The way back from a node: ``check_from_node``, and what a start without a worker says."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import dask
import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from distributed import LocalCluster
from polling import until
from radical.asyncflow.backend import Route
from radical.asyncflow.errors import BackendStartError
from radical.asyncflow.testing import LeakGuard, RecordingSink
from radical.asyncflow.worker import machine_addresses
from slurm_cluster import Node, Slurm, demand_slurm, serve_slurm

_LIMIT_S = 120.0  # for a step, on a busy machine
_SLURM = "dask_jobqueue.SLURMCluster"


async def check(*, wait: float = _LIMIT_S, **settings: Any) -> tuple[list[Route], list[str]]:
    """Check a backend; return the routes and what was told."""
    told: list[str] = []
    async with AsyncExitStack() as stack:
        if "address" not in settings:  # connections stay open in a cluster that does
            await stack.enter_async_context(LeakGuard())
        backend = DaskExecutionBackend(**settings)
        routes = await backend.check_from_node(wait=wait, limit=_LIMIT_S, tell=told.append)
    return [*routes], told


async def refused(**settings: Any) -> str:
    """Start a backend that must not come up; return the error's text."""
    backend = DaskExecutionBackend(**settings)
    async with LeakGuard():
        with pytest.raises(BackendStartError) as caught:
            await backend.start(RecordingSink())
        await backend.shutdown()
    return str(caught.value)


def test_doctor_starts_one_worker_of_a_local_cluster() -> None:
    words = ("doctor", "dask", "--from-node", "--timeout", str(_LIMIT_S))
    done = subprocess.run(
        [sys.executable, "-m", "radical.asyncflow", *words],
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done
    assert re.search(r"ok +tcp://127\.0\.0\.1:\d+ +reached from a worker on", done.stdout)
    assert re.search(r"ok +tcp://127\.0\.0\.1:\d+ \(worker\) +reached from the sch", done.stdout)


async def test_the_workers_of_a_given_scheduler_are_asked() -> None:
    with LocalCluster(
        n_workers=2, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
    ) as cluster:
        address = cluster.scheduler_address
        routes, _ = await check(address=address)
        assert len(cluster.workers) == 2
    own, worker = routes
    assert (own.address, own.problem) == (address, "")
    assert own.origin.startswith("2 workers, one on ")
    assert worker.address.endswith("(worker)")
    assert (worker.origin.startswith("the scheduler, on "), worker.problem) == (True, "")


async def test_a_given_scheduler_without_a_worker_is_told_with_what_to_do() -> None:
    with LocalCluster(
        n_workers=0, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
    ) as empty:
        address = empty.scheduler_address
        with pytest.raises(BackendStartError) as caught:
            await check(address=address, wait=0.3)
    assert f"the scheduler at {address} has no worker" in str(caught.value)
    assert f"dask worker {address}" in str(caught.value)


async def test_a_cluster_class_gets_one_worker() -> None:
    kwargs = {"dashboard_address": "127.0.0.1:0", "processes": False, "protocol": "tcp://"}
    routes, _ = await check(cluster_class=LocalCluster, cluster_kwargs={"n_workers": 3, **kwargs})
    assert [route.problem for route in routes] == ["", ""]
    assert routes[0].origin.startswith("a worker on")


async def test_a_worker_that_the_scheduler_does_not_reach_is_told() -> None:
    """It announces an address at which nobody listens."""
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        LocalCluster(
            n_workers=0, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
        ) as cluster,
    ):
        address = cluster.scheduler_address
        program = (sys.executable, "-m", "distributed.cli.dask_worker", address)
        ports = ("--contact-address", "tcp://127.0.0.1:1", "--listen-address", "tcp://127.0.0.1:0")
        worker = await asyncio.create_subprocess_exec(
            *program, *ports, "--no-nanny", "--no-dashboard", stderr=subprocess.DEVNULL
        )
        try:
            own, back = (await check(address=address))[0]
        finally:
            worker.kill()
            await worker.wait()
    assert own.problem == ""
    assert back.address == "tcp://127.0.0.1:1 (worker)"
    assert back.problem != ""
    assert "contact-address" in back.advice


# ----------------------------------------------------------- a real batch system


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory, node: Node | None) -> Iterator[Slurm]:
    pytest.importorskip("dask_jobqueue", reason="the extra jobqueue is not installed")
    demand_slurm()
    with serve_slurm(tmp_path_factory.mktemp("slurm"), node) as slurm:
        yield slurm


@pytest.fixture
def settings(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the settings of a backend whose workers are jobs of one core."""
    for key, value in slurm.environment.items():
        monkeypatch.setenv(key, value)
    kwargs = {
        "cores": 1,
        "processes": 1,
        "memory": "200MB",
        "walltime": "00:50:00",
        "log_directory": str(tmp_path / "logs"),
        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
    }
    return {"cluster_class": _SLURM, "cluster_kwargs": kwargs}


async def emptied(slurm: Slurm, *, but: str = "") -> None:
    await until(lambda: not slurm.jobs("PD", "R", "CG") - {but})


@asynccontextmanager
async def full(slurm: Slurm) -> AsyncIterator[str]:
    """Have another job take the whole node."""
    job = slurm.fill()
    try:
        await until(lambda: job in slurm.jobs("R"))
        yield job
    finally:
        slurm.cancel(job)
        await emptied(slurm)


async def test_a_job_reaches_the_address_that_its_node_knows(
    slurm: Slurm, node: Node | None, settings: dict[str, Any], tmp_path: Path
) -> None:
    if node is not None:
        settings["cluster_kwargs"]["scheduler_options"]["interface"] = node.name
    routes, told = await check(**settings)
    own, worker, *others = routes
    assert [route.problem for route in (own, worker)] == ["", ""]
    assert re.match(r"node \w+, job \d+$", own.origin)
    assert worker.address.endswith("(worker)")
    assert len(others) == len(machine_addresses()) - 1
    assert not any(route.used for route in others)
    assert any("it starts a worker" in text for text in told)
    await emptied(slurm)
    assert [*(tmp_path / "logs").glob("asyncflow*")] == []


async def test_an_address_that_a_job_does_not_reach_is_told_with_one_that_it_does(
    slurm: Slurm, node: Node | None, settings: dict[str, Any]
) -> None:
    if node is None:
        pytest.skip("this process may not make networks")
    settings["cluster_kwargs"]["death_timeout"] = 1
    routes, _ = await check(**settings)
    own, *others = routes
    assert own.used
    assert "unreachable" in own.problem
    assert own.origin.startswith(f"node {node.name}, job ")
    assert f"scheduler_options={{'interface': '{node.name}'}}" in own.advice
    assert [route.address for route in others if not route.problem] == [
        f"{node.controller} ({node.name})"
    ]
    await emptied(slurm)


async def test_a_job_that_waits_is_told_with_its_state_and_cancelled(
    slurm: Slurm, settings: dict[str, Any]
) -> None:
    async with full(slurm) as other:
        with pytest.raises(BackendStartError, match=r"job \d+: PENDING"):
            await check(**settings, wait=1.0)
        await emptied(slurm, but=other)
        settings["cluster_kwargs"]["n_workers"] = 1
        text = await refused(**settings, startup_timeout=4.0)
        await emptied(slurm, but=other)
    assert "did not start within startup_timeout=4 s" in text
    assert re.search(
        r"no worker of dask_jobqueue\.SLURMCluster has come to its scheduler at tcp://[\d.]+:\d+\n"
        r"job \d+: PENDING.*\n",
        text,
    )
    assert "asyncflow doctor dask --from-node" in text


async def test_a_job_that_failed_is_told_with_the_end_of_its_log(
    slurm: Slurm, settings: dict[str, Any]
) -> None:
    settings["cluster_kwargs"]["job_script_prologue"] = ["echo no such module >&2", "exit 3"]
    with pytest.raises(BackendStartError) as caught:
        await check(**settings)
    assert re.search(
        r"job \d+: FAILED \(NonZeroExitCode\) on \w+, exit code 3:0; its log \S+\.err ends with\n"
        r"  no such module\n",
        str(caught.value),
    )
