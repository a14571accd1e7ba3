"""A pilot of three nodes, each with a network of its own, which a real Slurm gives."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_radical import PilotLostError, RadicalExecutionBackend
from polling import until
from radical.asyncflow import TaskFuture, WorkflowEngine
from radical.asyncflow.backend import WaitKind
from radical.asyncflow.errors import DeathReason
from radical.asyncflow.testing import LeakGuard
from slurm_cluster import CORES, Node, Slurm, serve_slurm

from .slurm import CONFIG, use_slurm

pytestmark = pytest.mark.slow

_TOLD_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def cluster(nodes: list[Node], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with serve_slurm(tmp_path_factory.mktemp("slurm"), nodes) as slurm:
        yield slurm


@pytest.fixture
async def shared(
    cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Path]:
    """Return the folder that the nodes share with this machine."""
    await until(cluster.up)
    yield use_slurm(cluster, tmp_path, monkeypatch)
    await until(cluster.up)  # no job is left


class Spread:
    """Commands on the cores of two nodes, and functions on those of the third, behind a gate."""

    def __init__(self, flow: WorkflowEngine, folder: Path) -> None:
        self._gate = folder / "gate"
        gate = self._gate

        @flow.executable_task
        def command(name: object) -> str:
            held = f"until test -e {gate}; do sleep 0.1; done"
            return f"touch {gate}.{name}.$(hostname); {held}; hostname"

        @flow.function_task
        def function(name: object) -> str:
            host = socket.gethostname()
            Path(f"{gate}.{name}.{host}").touch()
            while not gate.exists():
                time.sleep(0.05)
            return host

        # It cannot begin before all others have ended.
        self.whole = command.options(resources={"ranks": 3 * CORES})
        self.tasks: list[TaskFuture[Any]] = [function(number) for number in range(CORES)]
        self.tasks += [command(number) for number in range(CORES, 3 * CORES)]

    async def begin(self) -> None:
        await until(lambda: len(self.begun()) == len(self.tasks))

    def begun(self) -> list[str]:
        """Return the name of the node of each task that has begun."""
        return [path.name.split(".")[2] for path in self._gate.parent.glob("gate.*")]

    def open(self) -> None:
        self._gate.touch()


@asynccontextmanager
async def spread(folder: Path, **settings: Any) -> AsyncIterator[tuple[WorkflowEngine, Spread]]:
    async with LeakGuard():
        backend = RadicalExecutionBackend(**{**CONFIG, "nodes": 3, **settings})
        async with WorkflowEngine.create(backend, work_dir=folder) as flow:
            tasks = Spread(flow, folder)
            await tasks.begin()
            yield flow, tasks


async def test_tasks_run_on_all_nodes_and_ranks_on_several(
    shared: Path, nodes: list[Node], tmp_path: Path
) -> None:
    hosts = sorted(node.host for node in nodes)
    async with spread(tmp_path) as (flow, tasks):
        assert sorted(tasks.begun()) == sorted(host for host in hosts for _ in range(CORES))
        tasks.open()
        told = [str(one).strip() for one in await asyncio.gather(*tasks.tasks)]
        assert sorted(told) == sorted(tasks.begun())
        ranks = flow.executable_task(resources={"ranks": 2 * CORES})(lambda: "hostname")
        assert set((await ranks()).split()) < set(hosts)


def cancel_job(cluster: Slurm, nodes: list[Node]) -> None:
    cluster.cancel(*cluster.jobs("R"))


def fail_node(cluster: Slurm, nodes: list[Node]) -> None:
    """Have a node fail on which the agent does not run: it takes the first one."""
    cluster.set_node("down", nodes[-1].name)


def cut_first(cluster: Slurm, nodes: list[Node]) -> None:
    nodes[0].cut()


def cut_last(cluster: Slurm, nodes: list[Node]) -> None:
    nodes[-1].cut()


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        pytest.param(cancel_job, DeathReason.JOB_CANCELLED, marks=pytest.mark.soak),
        (fail_node, DeathReason.NODE),
        pytest.param(cut_first, DeathReason.NODE, marks=pytest.mark.soak),
        pytest.param(cut_last, DeathReason.NODE, marks=pytest.mark.soak),
    ],
)
async def test_what_had_begun_is_lost_with_its_cause_and_the_rest_runs_on_the_next_pilot(
    cluster: Slurm,
    shared: Path,
    nodes: list[Node],
    tmp_path: Path,
    end: Callable[[Slurm, list[Node]], None],
    reason: DeathReason,
) -> None:
    async with spread(tmp_path, restart_pilot=1) as (_, tasks):
        waiting = tasks.whole("later")
        end(cluster, nodes)
        try:
            async with asyncio.timeout(_TOLD_WITHIN_S):
                errors = await asyncio.gather(*tasks.tasks, return_exceptions=True)
        finally:
            for node in nodes:
                node.mend()
        assert {type(error) for error in errors} == {PilotLostError}
        assert {error.reason for error in errors if isinstance(error, PilotLostError)} == {reason}
        tasks.open()
        assert set((await waiting).split()) == {node.host for node in nodes}
        assert waiting.attempts == 1


@pytest.mark.soak
async def test_a_cut_of_half_a_minute_is_survived_or_told(
    cluster: Slurm, shared: Path, nodes: list[Node], tmp_path: Path
) -> None:
    """Slurm may count the node as down by then."""
    async with spread(tmp_path, restart_pilot=1) as (_, tasks):
        waiting = tasks.whole("later")
        nodes[0].cut()
        try:
            await asyncio.sleep(30)
        finally:
            nodes[0].mend()
        tasks.open()
        async with asyncio.timeout(_TOLD_WITHIN_S):
            ends = await asyncio.gather(*tasks.tasks, return_exceptions=True)
        ends += await asyncio.gather(waiting, return_exceptions=True)
        lost = [end for end in ends if isinstance(end, PilotLostError)]
        assert {error.reason for error in lost} <= {DeathReason.NODE}
        told = {host for end in ends if end not in lost for host in str(end).split()}
        assert told <= {node.host for node in nodes}


async def test_a_queue_that_starts_nothing_is_told_with_what_holds_the_pilot(
    cluster: Slurm, shared: Path, tmp_path: Path
) -> None:
    cluster.set_queue("down")
    try:
        async with LeakGuard():
            backend = RadicalExecutionBackend(**{**CONFIG, "nodes": 3})
            flow = await WorkflowEngine.create(backend, work_dir=tmp_path)
            future = flow.executable_task(lambda: "echo never")()
            await until(lambda: "PENDING (PartitionDown)" in str(flow.why(future)))
            (reason,) = flow.why(future).reasons
            assert reason.kind is WaitKind.QUEUE
            await flow.shutdown()
            assert future.cancelled()
    finally:
        cluster.set_queue("up")
