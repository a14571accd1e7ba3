"""Blocks on a real Slurm, whose three nodes have networks and host names of their own.

Where that is not allowed, it has this machine alone, and tests that need more are skipped.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import textwrap
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest
from asyncflow_backend_parsl import ParslExecutionBackend
from polling import until
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import (
    BackendLostError,
    BackendStartError,
    DeathReason,
    ServiceLostError,
    WorkerLostError,
)
from slurm_cluster import CORES, Node, Slurm

_BLOCK = {
    "partition": "debug",
    "walltime": "00:10:00",
    "exclusive": False,
    "cores_per_node": CORES,
    "grace": 1.0,
}


def _flow(**settings: Any) -> Any:
    return WorkflowEngine.create("slurm", config={**_BLOCK, **settings})


def _host() -> str:
    import socket

    return socket.gethostname()


def _host_of_work(gate: str) -> str:
    """Leave a file beside *gate*; return the name of the node as soon as that is there."""
    Path(f"{gate}.{uuid.uuid4()}").touch()
    while not Path(gate).exists():
        time.sleep(0.02)
    return _host()


class _Keeper:
    """The class of a service."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def keep(self, value: Any) -> int:
        self.kept.append(value)
        return len(self.kept)

    def last(self) -> Any:
        return self.kept[-1]

    def host(self) -> str:
        return _host()

    def host_of_work(self, gate: str) -> str:
        return _host_of_work(gate)


async def _running(gate: Path, count: int) -> None:
    """Wait until so many tasks that wait for *gate* have begun."""
    await until(lambda: len(list(gate.parent.glob(f"{gate.name}.*"))) >= count)


async def _free(slurm: Slurm) -> None:
    """Wait until no job of an earlier test is left."""
    await until(slurm.up)


async def test_tasks_and_services_spread_over_all_nodes_of_a_block(
    slurm: Slurm, nodes: list[Node], tmp_path: Path
) -> None:
    await _free(slurm)
    async with _flow(nodes_per_block=3) as flow:
        gate = tmp_path / "gate"
        where = flow.function_task(_host_of_work)
        futures = [where(str(gate)) for _ in range(3 * CORES)]
        await _running(gate, 3 * CORES)
        gate.touch()
        hosts = await asyncio.gather(*futures)
        assert sorted(hosts) == sorted(node.host for node in nodes for _ in range(CORES))
        assert flow.backend.capacity() == 3 * CORES
        command = flow.executable_task(lambda: "hostname")
        assert {(await command()).strip()} <= {node.host for node in nodes}
        await _services_of_several_nodes_end_with_theirs(flow, slurm, nodes, gate.with_name("shut"))


async def _services_of_several_nodes_end_with_theirs(
    flow: WorkflowEngine, slurm: Slurm, nodes: list[Node], gate: Path
) -> None:
    kind = flow.service(_Keeper, resources={"cores": CORES}, restarts=1)
    keepers = [kind() for _ in nodes]
    hosts = await asyncio.gather(*(keeper.host() for keeper in keepers))
    assert sorted(hosts) == sorted(node.host for node in nodes)
    first, second, third = keepers
    array = numpy.arange(6_000_000.0)
    calls = [keeper.keep(number) for number in range(200) for keeper in keepers]
    assert await asyncio.gather(*calls) == [n + 1 for n in range(200) for _ in keepers]
    assert await first.keep(third.keep(array)) == 201
    result = await third.last()
    result += 1.0
    assert numpy.array_equal(result, array + 1.0)
    await third.stop()
    lost = [first.host_of_work(str(gate)), first.keep(0)]
    await _running(gate, 1)
    _kill_agent(flow.backend, slurm, hosts[0])
    for error in await asyncio.gather(*lost, return_exceptions=True):
        assert isinstance(error, ServiceLostError)
        assert isinstance(error.__cause__, WorkerLostError)
        assert hosts[0] in error.__cause__.worker
    assert await second.last() == 199
    assert await first.host() == hosts[2]  # which the third one has left


@pytest.mark.usefixtures("nodes")
async def test_ten_thousand_tasks_need_few_commands_of_the_batch_system(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _free(slurm)
    log = tmp_path / "commands"
    for name in ("sbatch", "scancel", "squeue", "sacct", "scontrol", "sinfo"):
        real = shutil.which(name)
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\necho {name} >> {log}\nexec {real} "$@"\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    async with _flow(init_blocks=4, max_blocks=4, cores_per_node=2) as flow:
        work = flow.function_task(lambda number: number)
        assert sum(await asyncio.gather(*map(work, range(10_000)))) == 49_995_000
    asked = log.read_text().split()
    assert asked.count("sbatch") == 4
    assert len(asked) <= 20


async def test_a_refusal_has_the_words_of_the_batch_system(slurm: Slurm) -> None:
    with pytest.raises(BackendStartError, match=r"[Ii]nvalid partition"):
        async with _flow(partition="nothing"):
            pass


async def test_a_job_that_never_starts_ends_the_backend_with_the_reason(slurm: Slurm) -> None:
    async with _flow(walltime="10:00:00") as flow:
        with pytest.raises(BackendLostError, match=r"will never start.*PartitionTimeLimit"):
            await flow.function_task(int)("7")
    assert not slurm.jobs("PD", "R")


async def test_a_batch_system_may_answer_late(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _free(slurm)
    asked, gate = tmp_path / "asked", tmp_path / "gate"
    script = tmp_path / "sbatch"
    script.write_text(
        f"#!/bin/sh\ntouch {asked}\nwhile [ ! -e {gate} ]; do sleep 0.05; done\n"
        f'exec {shutil.which("sbatch")} "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    opening = asyncio.ensure_future(_flow())
    await until(asked.exists)
    assert not opening.done()
    gate.touch()
    async with await opening as flow:
        assert await flow.function_task(int)("7") == 7


async def test_a_task_says_that_its_block_is_in_the_queue(
    slurm: Slurm, own_nodes: list[Node]
) -> None:
    await _free(slurm)
    jobs = [slurm.fill() for _ in own_nodes or [None]]
    try:
        async with _flow() as flow:
            future = flow.function_task(int)("7")
            said = ""
            while "Resources" not in said and "Priority" not in said:
                said = str(flow.why(future))
                await asyncio.sleep(0.1)
            assert "in the queue" in said
            for job in jobs:
                slurm.cancel(job)
            assert await future == 7
    finally:
        for job in jobs:
            slurm.cancel(job)


def _kill_agent(backend: ParslExecutionBackend, slurm: Slurm, host: str) -> None:
    (pid,) = [node.facts.pid for node in _nodes(backend) if node.facts.host == host]
    os.kill(pid, signal.SIGKILL)


def _cancel_job(backend: ParslExecutionBackend, slurm: Slurm, host: str) -> None:
    slurm.cancel(*[node.facts.job for node in _nodes(backend) if node.facts.host == host])


def _fail_node(backend: ParslExecutionBackend, slurm: Slurm, host: str) -> None:
    slurm.set_node("down", host)


def _nodes(backend: ParslExecutionBackend) -> list[Any]:
    assert backend._router is not None
    return list(backend._router.nodes.values())


@pytest.mark.parametrize(
    ("end", "reason", "words"),
    [
        (_kill_agent, DeathReason.KILLED, "signal 9"),
        (_cancel_job, DeathReason.JOB_CANCELLED, "CANCELLED"),
        (_fail_node, DeathReason.NODE, "NODE_FAIL"),
    ],
)
async def test_the_end_of_a_node_costs_what_it_had_begun_and_names_the_cause(
    slurm: Slurm,
    tmp_path: Path,
    end: Callable[[ParslExecutionBackend, Slurm, str], None],
    reason: DeathReason,
    words: str,
) -> None:
    await _free(slurm)
    gate = tmp_path / "gate"
    async with _flow(max_blocks=2) as flow:
        where = flow.function_task(_host_of_work)
        host = await flow.function_task(_host)()
        futures = [where(str(gate)) for _ in range(CORES)]
        await _running(gate, CORES)
        later = [where(str(gate)) for _ in range(2)]
        end(flow.backend, slurm, host)
        for future in futures:
            with pytest.raises(WorkerLostError, match=words) as caught:
                await future
            assert caught.value.reason is reason
            assert host in caught.value.worker
        gate.touch()
        assert len(await asyncio.gather(*later)) == 2
    await until(slurm.up)  # a node that answers is taken back by itself


@pytest.mark.usefixtures("nodes")
async def test_idle_blocks_end_and_no_more_blocks_than_allowed_are_asked_for(
    slurm: Slurm, tmp_path: Path
) -> None:
    await _free(slurm)
    gate = tmp_path / "gate"
    async with _flow(max_blocks=2, min_blocks=1, idle_seconds=1.0) as flow:
        where = flow.function_task(_host_of_work)
        futures = [where(str(gate)) for _ in range(10 * CORES)]
        await _running(gate, 2 * CORES)
        assert len(slurm.jobs("PD", "R")) == 2
        gate.touch()
        await asyncio.gather(*futures)
        await until(lambda: len(slurm.jobs("R")) <= 1)
        assert await flow.function_task(int)("7") == 7


@pytest.mark.parametrize("ends", ["the program", "its machine"])
async def test_the_blocks_of_a_program_that_is_gone_end(
    slurm: Slurm, tmp_path: Path, ends: str
) -> None:
    await _free(slurm)
    ready = tmp_path / "ready"
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            import asyncio, pathlib, time
            from radical.asyncflow import WorkflowEngine

            class Keeper:
                def pid(self):
                    import os

                    return os.getpid()

            async def main():
                async with WorkflowEngine.create("slurm", config={_BLOCK!r}) as flow:
                    pid = await flow.service(Keeper)().pid()
                    pathlib.Path({str(ready)!r}).write_text(str(pid))
                    await flow.function_task(time.sleep)(3600)

            asyncio.run(main())
            """
        )
    )
    process = await asyncio.create_subprocess_exec(sys.executable, str(program), cwd=tmp_path)
    await until(lambda: ready.exists() and ready.read_text())
    if ends == "its machine":  # nothing is left that could cancel them
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
    process.kill()
    await process.wait()
    await until(lambda: not slurm.jobs("PD", "R"))
    if ends == "the program":
        await until(lambda: not list(tmp_path.rglob("parsl-*")))
    await until(lambda: not psutil.pid_exists(int(ready.read_text())))


async def test_the_blocks_of_a_process_that_held_parsl_are_cancelled(slurm: Slurm) -> None:
    await _free(slurm)
    async with _flow(max_blocks=2) as flow:
        begun = flow.function_task(time.sleep)(3600)
        await flow.function_task(_host)()
        assert flow.backend._host is not None
        os.kill(flow.backend._host._process.pid, signal.SIGKILL)
        with pytest.raises(BackendLostError, match="the process that held Parsl ended"):
            await begun
        await until(lambda: not slurm.jobs("PD", "R"))


@pytest.mark.parametrize(
    "seconds", [2, *(pytest.param(each, marks=pytest.mark.soak) for each in (30, 3600))]
)
async def test_a_cut_of_the_network_is_survived_or_named(
    slurm: Slurm, nodes: list[Node], tmp_path: Path, seconds: int
) -> None:
    await _free(slurm)
    gate = tmp_path / "gate"
    async with _flow(max_blocks=2) as flow:
        host = await flow.function_task(_host)()
        (node,) = [node for node in nodes if node.host == host]
        keeper = flow.service(_Keeper)()
        call = keeper.host_of_work(str(gate))
        futures = [flow.function_task(_host_of_work)(str(gate)) for _ in range(CORES - 1)]
        await _running(gate, CORES)
        began = time.monotonic()
        node.cut()
        try:
            if seconds < 3600:
                later = keeper.keep(numpy.ones(2_000_000))
                await asyncio.sleep(seconds)
                node.mend()
                gate.touch()
                assert await asyncio.gather(call, *futures) == [host] * CORES
                if seconds < 30:  # Slurm itself ends the job of a node that is silent for longer
                    assert await later == 1
                return
            outcomes = await asyncio.gather(*futures, return_exceptions=True)
            assert time.monotonic() - began < 60
            with pytest.raises(ServiceLostError) as caught:
                await call
            for outcome in (*outcomes, caught.value.__cause__):
                assert isinstance(outcome, WorkerLostError)
                assert outcome.reason is DeathReason.NODE
        finally:
            node.mend()


async def test_a_service_is_reached_at_the_address_of_its_node(
    slurm: Slurm, nodes: list[Node]
) -> None:
    await _free(slurm)
    async with _flow() as flow:
        server = flow.executable_task(
            lambda: [sys.executable, "-m", "http.server", "8765"], service=True, ready_port=8765
        )
        service = server()
        host, _, port = str(await service).partition(":")
        assert (host, port) in {(node.address, "8765") for node in nodes}
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        await service.stop()
