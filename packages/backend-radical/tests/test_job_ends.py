"""The reasons for the end of a job, of which each is real, on a real Slurm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_radical._host.psij_plugin import write_plugin
from asyncflow_backend_radical._pilot.job_end import explain_end
from control_groups import MEMORY_V1, may_make_groups
from polling import until
from radical.asyncflow.errors import DeathReason
from radical.asyncflow.worker import ask_batch_system, explain_slurm_job, slurm_facts
from slurm_cluster import Slurm, demand_slurm, serve_slurm

pytestmark = pytest.mark.slow

_MANAGER = "slurm://localhost/"
_LIMITS_MEMORY = may_make_groups(MEMORY_V1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    demand_slurm()
    with (
        pytest.MonkeyPatch.context() as patch,
        serve_slurm(tmp_path_factory.mktemp("slurm"), limits_memory=_LIMITS_MEMORY) as slurm,
    ):
        for key, value in slurm.environment.items():
            patch.setenv(key, value)
        yield slurm


async def test_each_reason_is_told_with_what_shows_it(cluster: Slurm, tmp_path: Path) -> None:
    folders = {}
    for name in ("walltime", "cancelled", "failed"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
    jobs = {name: cluster.submit(folders[name], "sleep 600") for name in ("walltime", "cancelled")}
    jobs["failed"] = cluster.submit(folders["failed"], "exit 3")
    await until(lambda: {jobs["walltime"], jobs["cancelled"]} <= cluster.jobs("R"))
    cluster.end_walltime(jobs["walltime"])
    assert explain_slurm_job(jobs["cancelled"]) is None
    cluster.cancel(jobs["cancelled"])
    await until(lambda: cluster.jobs("R", "PD", "CG") == set())
    ends = {name: explain_end(str(folder), _MANAGER) for name, folder in folders.items()}
    assert {name: end.reason for name, end in ends.items()} == {
        "walltime": DeathReason.WALLTIME,
        "cancelled": DeathReason.JOB_CANCELLED,
        "failed": DeathReason.UNKNOWN,
    }
    begin = "Slurm says of job {}: {}; it ran for"
    assert ends["walltime"].evidence.startswith(
        begin.format(jobs["walltime"], "TIMEOUT, TimeLimit")
    )
    assert ends["cancelled"].evidence.startswith(begin.format(jobs["cancelled"], "CANCELLED"))
    assert ends["failed"].evidence.startswith(
        begin.format(jobs["failed"], "FAILED, NonZeroExitCode")
    )
    assert ends["failed"].evidence.endswith("exit code 3:0")


async def test_a_node_that_fails_is_told(cluster: Slurm, tmp_path: Path) -> None:
    job = cluster.submit(tmp_path, "sleep 600")
    await until(lambda: job in cluster.jobs("R"))
    cluster.fail_node()
    end = explain_end(str(tmp_path), _MANAGER)
    assert end.reason is DeathReason.NODE
    assert f"job {job}: NODE_FAIL, NodeDown" in end.evidence
    await until(cluster.up)


async def test_the_job_that_takes_the_whole_node_writes_no_file(cluster: Slurm) -> None:
    job = cluster.fill()
    files = [slurm_facts(job)[name] for name in ("StdOut", "StdErr")]
    cluster.cancel(job)
    assert files == ["/dev/null", "/dev/null"]


@pytest.mark.skipif(not _LIMITS_MEMORY, reason="no control groups of version 1 to make")
async def test_a_job_that_the_kernel_killed_for_memory_is_told(
    cluster: Slurm, tmp_path: Path
) -> None:
    code = "text = b'1' * 300_000_000; import time; time.sleep(600)"
    job = cluster.submit(tmp_path, f'python3 -c "{code}"', memory_mb=50)
    await until(lambda: explain_slurm_job(job) is not None)
    end = explain_end(str(tmp_path), _MANAGER)
    assert end.reason is DeathReason.MEMORY
    assert f"job {job}: OUT_OF_MEMORY" in end.evidence


_ASK_PSIJ = """
import json, psij
slurm = psij.JobExecutor.get_instance("slurm")
out = slurm._run_command(slurm.get_status_command([]))
found = slurm.parse_status_output(0, out)
print(json.dumps({job: [status.state.name, status.message] for job, status in found.items()}))
"""


def ask_psij(folder: Path) -> Any:
    """Return the state and the message of each job, as PSI/J tells them to RADICAL-Pilot."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK_PSIJ],
        env={**os.environ, "PYTHONPATH": str(write_plugin(folder))},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return json.loads(done.stdout)


async def test_psij_takes_what_slurm_tells_whatever_the_reason(
    cluster: Slurm, tmp_path: Path
) -> None:
    code = "text = b'1' * 300_000_000; import time; time.sleep(600)"
    line = f'python3 -c "{code}"' if _LIMITS_MEMORY else "exit 3"
    ended = cluster.submit(tmp_path, line, memory_mb=50)
    await until(lambda: explain_slurm_job(ended) is not None)
    cluster.set_node("drain")
    waiting = cluster.submit(tmp_path, "sleep 600")
    try:
        reason = ("squeue", "-h", "-o", "%r", "-j", waiting)
        await until(lambda: " " in ask_batch_system(*reason).strip())
        found = ask_psij(tmp_path)
    finally:
        cluster.cancel(waiting)
        cluster.set_node("resume")
    assert found[waiting] == ["QUEUED", None]
    assert found[ended][0] == "FAILED"
    assert ("OutOfMemory" in found[ended][1]) == _LIMITS_MEMORY
    await until(cluster.up)


def test_the_agent_that_ended_at_the_end_of_its_runtime_tells_it(tmp_path: Path) -> None:
    (tmp_path / "killme.signal").write_text("DONE\n")
    assert explain_end(str(tmp_path), "fork://localhost/").reason is DeathReason.WALLTIME


def test_what_no_batch_system_tells_is_unknown(cluster: Slurm, tmp_path: Path) -> None:
    (tmp_path / "killme.signal").write_text("CANCELED\n")
    for manager in ("fork://localhost/", _MANAGER):
        assert explain_end(str(tmp_path), manager) == (DeathReason.UNKNOWN, "")
