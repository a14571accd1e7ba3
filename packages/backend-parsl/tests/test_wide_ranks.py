"""Ranks over the three nodes of a block, on a real Slurm and with real MPI launchers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from polling import until
from radical.asyncflow import Command, WorkflowEngine
from radical.asyncflow.errors import (
    DeathReason,
    ExecutableError,
    ResourceError,
    UnsupportedOptionError,
    WorkerLostError,
)
from slurm_cluster import Node, Slurm

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOTS = 2  # of a node in each block
PROGRAM = Path(__file__).with_name("ranks_of_nodes.py")
LAUNCHERS = {"mpiexec": None, "srun": "srun --mpi=pmi2"}


class Rank(NamedTuple):
    """A rank that has begun, as it tells itself."""

    pid: int
    child: int
    host: str
    token: str


class Ranks:
    """The ranks of one command, which wait until they are ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self, *words: str) -> Command:
        return Command((sys.executable, str(PROGRAM), str(self.folder), *words))

    async def begun(self, count: int) -> list[Rank]:
        await until(lambda: len(list(self.folder.glob("*.rank"))) >= count)
        told = [path.read_text().split() for path in self.folder.glob("*.rank")]
        return [Rank(int(pid), int(child), host, token) for pid, child, host, token in told]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def flows(slurm: Slurm, own_nodes: list[Node]) -> AsyncIterator[dict[str, WorkflowEngine]]:
    """Run an engine for each launcher, with a block on all nodes."""
    if not own_nodes:
        pytest.skip("it needs several nodes, and this process may not make networks for them")
    assert slurm.up()
    async with AsyncExitStack() as stack:

        async def start(launcher: str | None) -> WorkflowEngine:
            config = {
                "partition": "debug",
                "walltime": "00:10:00",
                "exclusive": False,
                "cores_per_node": SLOTS if launcher is None else 1,
                "grace": 1.0,
                "nodes_per_block": 3,
                "mpi_launcher": launcher,
            }
            flow = await stack.enter_async_context(WorkflowEngine.create("slurm", config=config))
            slots = 3 * config["cores_per_node"]
            await until(lambda: flow.backend.capacity() == slots)
            return flow

        started = await asyncio.gather(*map(start, LAUNCHERS.values()))
        yield dict(zip(LAUNCHERS, started, strict=True))


@pytest.fixture
def flow(flows: dict[str, WorkflowEngine]) -> WorkflowEngine:
    return flows["mpiexec"]


@pytest.fixture
def ranks(tmp_path: Path) -> Ranks:
    return Ranks(tmp_path)


def _hosts(own_nodes: list[Node]) -> set[str]:
    return {node.host for node in own_nodes}


def _used(flow: WorkflowEngine) -> list[int]:
    return [node.used_slots for node in flow.backend._router.nodes.values()]


def _is_there(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _left(begun: list[Rank]) -> list[int]:
    return [pid for rank in begun for pid in rank[:2] if _is_there(pid)]


@pytest.mark.parametrize("launcher", ["mpiexec", "srun"])
async def test_ranks_of_all_nodes_talk_with_each_other(
    flows: dict[str, WorkflowEngine], own_nodes: list[Node], launcher: str
) -> None:
    # The last node has fewer ranks than the others.
    each = SLOTS if launcher == "mpiexec" else 1
    count = 3 * each - (each > 1)
    run = flows[launcher].executable_task(
        lambda: Command(
            (sys.executable, str(PROGRAM)),
            env={"HELLO": "you"},
            stdin="of rank 0",
        ),
        resources={"ranks": count},
    )
    lines = [line.split(" ", 4) for line in (await run()).splitlines()]
    assert [(int(rank), int(size), int(total)) for rank, size, total, *_ in lines] == [
        (rank, count, count * (count - 1) // 2) for rank in range(count)
    ]
    hosts = [host for _, _, _, host, _ in lines]
    assert {*hosts} == _hosts(own_nodes)
    assert all(len({*hosts[first : first + each]}) == 1 for first in range(0, count, each))
    assert [more for *_, more in lines] == ["you of rank 0", *["you "] * (count - 1)]
    assert not any(_used(flows[launcher]))


@pytest.mark.parametrize("launcher", ["mpiexec", "srun"])
async def test_a_cancel_leaves_no_process_on_any_node(
    flows: dict[str, WorkflowEngine], ranks: Ranks, own_nodes: list[Node], launcher: str
) -> None:
    flow = flows[launcher]
    count = 3 * SLOTS if launcher == "mpiexec" else 3
    run = flow.executable_task(lambda: ranks.command("wait"), resources={"ranks": count})
    future = run()
    begun = await ranks.begun(count)
    # What ends the processes of a node finds them by this, as each node has its own /proc.
    assert len({rank.token for rank in begun}) == len(_hosts(own_nodes))
    assert len({(rank.host, rank.token) for rank in begun}) == len(own_nodes)
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    await until(lambda: not any(_used(flow)))
    assert _left(begun) == []


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("exit", "exit code 3"),
        ("kill", r"signal 9 .*rank 5 of 6: sent by another process"),
        ("abort", "exit code 7"),
    ],
)
async def test_the_end_of_a_rank_on_another_node_ends_all(
    flow: WorkflowEngine, ranks: Ranks, end: str, words: str
) -> None:
    run = flow.executable_task(lambda: ranks.command(end), resources={"ranks": 3 * SLOTS})
    with pytest.raises(ExecutableError, match=words):
        await run()
    assert _left(await ranks.begun(3 * SLOTS)) == []
    assert not any(_used(flow))


async def test_what_is_too_large_for_a_block_is_refused_at_the_call(flow: WorkflowEngine) -> None:
    too_many = flow.executable_task(lambda: "true", resources={"ranks": 3 * SLOTS + 1})
    with pytest.raises(ResourceError, match=r"asks a block for 7 ranks.* 3 nodes .* 2 each"):
        too_many()
    function = flow.function_task(int, resources={"ranks": 3})
    with pytest.raises(UnsupportedOptionError, match="radical_pilot"):
        function()


async def test_two_wide_tasks_at_once_share_the_slots_and_a_third_waits(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    both = [Ranks(tmp_path / name) for name in "ab"]
    for each in both:
        each.folder.mkdir()
    run = flow.executable_task(lambda each: each.command("wait"), resources={"ranks": 3})
    futures = [run(each) for each in both]
    try:
        begun = [rank for each in both for rank in await each.begun(3)]
        hosts = [rank.host for rank in begun]
        assert {hosts.count(host) for host in hosts} == {SLOTS}
        futures.append(run(Ranks(tmp_path)))
        third = futures[-1]
        room = "room on the nodes of one block of backend 'slurm', for 3 ranks"
        await until(lambda: room in str(flow.why(third)))
    finally:
        for future in futures:
            future.cancel()
        await asyncio.gather(*futures, return_exceptions=True)
    assert _left(begun) == []


async def test_a_node_that_dies_ends_the_ranks_on_the_others(
    flow: WorkflowEngine, ranks: Ranks
) -> None:
    run = flow.executable_task(lambda: ranks.command("wait"), resources={"ranks": 3 * SLOTS})
    future = run()
    begun = await ranks.begun(3 * SLOTS)
    node = list(flow.backend._router.nodes.values())[-1]
    os.kill(node.facts.pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError, match="signal 9") as caught:
        await future
    assert caught.value.reason is DeathReason.KILLED
    assert node.facts.host in caught.value.worker
    await until(lambda: not _left(begun))
    assert not any(_used(flow))
