"""``asyncflow doctor radical_pilot --from-node``: the way back from a node, on a real Slurm."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from polling import HANG_S, until
from slurm_cluster import Node, Slurm, demand_slurm, serve_slurm

from .slurm import CONFIG, use_slurm

pytestmark = pytest.mark.slow

_SETTINGS = [word for key, value in CONFIG.items() for word in ("--set", f"{key}={value}")]
_COMMAND = [
    *(sys.executable, "-m", "radical.asyncflow", "doctor", "radical_pilot", "--from-node"),
    *("--timeout", "250", *_SETTINGS),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, node: Node | None) -> Iterator[Slurm]:
    demand_slurm()
    with serve_slurm(tmp_path_factory.mktemp("slurm"), node) as slurm:
        yield slurm


@pytest.fixture
def shared(cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that the node shares with this machine."""
    return use_slurm(cluster, tmp_path, monkeypatch)


def doctor(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COMMAND, *words], capture_output=True, text=True, timeout=HANG_S, check=False
    )


def left_in(shared: Path) -> list[Path]:
    return [*shared.glob("asyncflow*"), *shared.glob("*/rp.session*")]


async def test_a_node_that_reaches_this_machine_is_told_with_its_job(
    cluster: Slurm, node: Node | None, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if node is not None:
        monkeypatch.setenv("RADICAL_DEFAULT_IFACE", node.name)
    done = doctor()
    assert done.returncode == 0, done
    assert re.search(
        r"ok +tcp://[\d.]+:\d+ \(\w+\) +reached from node \w+, job \d+\n"
        r" +ok +RADICAL-Pilot's agent +reached from node \w+, job \d+\n",
        done.stdout,
    )
    await until(lambda: cluster.jobs("PD", "R", "CG") == set())
    assert left_in(shared) == []


async def test_an_address_that_a_node_does_not_reach_is_told_with_one_that_it_does(
    cluster: Slurm, node: Node | None, shared: Path
) -> None:
    if node is None:
        pytest.skip("this process may not make networks")
    done = doctor()
    assert done.returncode == 1, done
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line]
    told = {first: rest for first, *more in lines for rest in more}
    assert re.match(r"tcp://[\d.]+:\d+ \(\w+\)$", told["failed"])
    assert re.search(rf"unreachable \(from node {node.name}, job \d+\)$", told["why:"])
    assert told["fix:"].startswith(f"Set RADICAL_DEFAULT_IFACE={node.name} in the environment")
    assert f"{node.controller} ({node.name})" in told["-"]
    assert "RADICAL-Pilot's agent " not in done.stdout
    await until(lambda: cluster.jobs("PD", "R", "CG") == set())
    assert left_in(shared) == []


async def test_a_job_that_does_not_start_in_time_is_told_with_its_state_and_cancelled(
    cluster: Slurm, shared: Path
) -> None:
    other = cluster.fill()
    await until(lambda: other in cluster.jobs("R"))
    done = doctor("--wait", "2")
    assert done.returncode == 1, done
    assert re.search(
        r"job \d+ did not run within 2 s; the batch system says: PENDING \(\w+\)", done.stdout
    )
    await until(lambda: cluster.jobs("PD", "R", "CG") == {other})
    program = await asyncio.create_subprocess_exec(*_COMMAND, stdout=subprocess.PIPE)
    try:
        await until(lambda: cluster.jobs("PD") != set())
        program.send_signal(signal.SIGINT)  # as Ctrl-C does
        output, _ = await asyncio.wait_for(program.communicate(), HANG_S)
    finally:
        if program.returncode is None:
            program.kill()
    assert program.returncode == 130, output
    await until(lambda: cluster.jobs("PD", "R", "CG") == {other})
    cluster.cancel(other)
    await until(lambda: cluster.jobs("PD", "R", "CG") == set())
