"""A pilot that a real batch system starts: Slurm, on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_radical import PilotLostError, RadicalExecutionBackend
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import LeakGuard

from .slurm import CORES, Slurm, missing_programs, serve_slurm
from .support import HANG_S, until

pytestmark = pytest.mark.slow

_CONFIG = {"resource": "uni.cellar", "nodes": 1, "queue": "debug", "walltime": 10}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Start Slurm; skip the tests where it is not installed, except in CI, which must have it."""
    missing = missing_programs()
    if missing:
        text = f"no {', '.join(missing)}: install the packages slurm-wlm and munge"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    with serve_slurm(tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


@pytest.fixture
def shared(cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that the node shares with this machine."""
    folder = tmp_path / "shared"
    configs = tmp_path / "home" / ".radical" / "pilot" / "configs"
    configs.mkdir(parents=True)
    entry = {
        "default_schema": "local",
        "schemas": {
            "local": {
                "job_manager_endpoint": "slurm://localhost/",
                "filesystem_endpoint": "file://localhost/",
            }
        },
        "default_remote_workdir": str(folder),
        "resource_manager": "SLURM",
        "agent_config": "default",
        "agent_scheduler": "CONTINUOUS",
        "agent_spawner": "POPEN",
        "launch_methods": {
            "order": ["SRUN"],
            "SRUN": {
                "pre_exec_cached": [
                    f"export {key}={value}" for key, value in cluster.environment.items()
                ]
            },
        },
        "rp_version": "installed",
        "virtenv_mode": "local",
        "python_dist": "default",
        "cores_per_node": CORES,
    }
    (configs / "resource_uni.json").write_text(json.dumps({"cellar": entry}))
    monkeypatch.setenv("RADICAL_CONFIG_USER_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # PSI/J writes there
    for key, value in cluster.environment.items():
        monkeypatch.setenv(key, value)
    return folder


@asynccontextmanager
async def _full(cluster: Slurm) -> AsyncIterator[str]:
    """Have another job take the whole node."""
    job = cluster.fill()
    try:
        await until(lambda: job in cluster.jobs("R"))
        yield job
    finally:
        cluster.cancel(job)
        await until(lambda: cluster.jobs("R", "PD", "CG") == set())


async def test_tasks_wait_for_the_queue_and_run_when_the_job_does(
    cluster: Slurm, shared: Path
) -> None:
    async with LeakGuard(), _full(cluster) as other:
        backend = RadicalExecutionBackend(**_CONFIG)
        async with WorkflowEngine.create(backend) as flow:

            @flow.executable_task
            async def job_of(*_: Any) -> str:
                return "echo $SLURM_JOB_ID"

            @flow.executable_task(resources={"ranks": 2})
            async def rank() -> str:
                return "echo $SLURM_PROCID of $SLURM_NTASKS"

            @flow.function_task
            def double(number: int) -> int:
                return 2 * number

            first = job_of()
            futures = [first, rank(), double(double(21)), job_of(first)]
            (ours,) = cluster.jobs("PD")
            await asyncio.sleep(0)
            assert {future.state for future in futures} == {"PENDING"}
            cluster.cancel(other)
            results = await asyncio.gather(*futures)
        assert results == [f"{ours}\n", "0 of 2\n1 of 2\n", 84, f"{ours}\n"]
        await until(lambda: cluster.jobs("R", "PD", "CG") == set())
    assert [*shared.glob("asyncflow*"), *shared.glob("*/rp.session*")] == []  # noqa: ASYNC240


async def test_a_job_that_ends_is_a_lost_pilot_and_no_failed_command(
    cluster: Slurm, shared: Path, tmp_path: Path
) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend(**_CONFIG)
        async with WorkflowEngine.create(backend, work_dir=tmp_path) as flow:
            run = flow.executable_task(lambda number: f"touch {tmp_path}/{number}; sleep 3600")
            futures = [run(number) for number in range(2)]
            await until(lambda: all((tmp_path / str(number)).exists() for number in range(2)))
            (job,) = cluster.jobs("R")
            cluster.cancel(job)
            outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [PilotLostError, PilotLostError]


async def test_the_next_job_runs_what_the_lost_one_had_not_begun(
    cluster: Slurm, shared: Path, tmp_path: Path
) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend(**_CONFIG, restart_pilot=1)
        async with WorkflowEngine.create(backend, work_dir=tmp_path) as flow:
            run = flow.executable_task(lambda line: line)
            whole = run.options(resources={"cores": CORES})
            part = run.options(resources={"cores": CORES - 1})
            running = part(f"touch {tmp_path}/began; sleep 3600")
            await until((tmp_path / "began").exists)
            waiting = whole(f"echo once >> {tmp_path}/waiting; echo $SLURM_JOB_ID")
            (lost,) = (await run("echo $SLURM_JOB_ID")).split()  # it came behind `waiting`
            assert cluster.jobs("R") == {lost}
            cluster.cancel(lost)
            with pytest.raises(PilotLostError):
                await asyncio.wait_for(running, HANG_S)
            (taken,) = (await asyncio.wait_for(waiting, HANG_S)).split()
            assert taken != lost
            assert cluster.jobs("R") == {taken}
        await until(lambda: cluster.jobs("R", "PD", "CG") == set())
    assert (tmp_path / "waiting").read_text() == "once\n"
    assert waiting.attempts == 1


async def test_shutdown_takes_the_job_of_a_pilot_that_never_ran_out_of_the_queue(
    cluster: Slurm, shared: Path
) -> None:
    async with LeakGuard(), _full(cluster) as other:
        flow = await WorkflowEngine.create(RadicalExecutionBackend(**_CONFIG))
        waiting = flow.executable_task(lambda: "echo never")()
        assert len(cluster.jobs("PD")) == 1
        await flow.shutdown()
        assert waiting.cancelled()
        assert cluster.jobs("R", "PD") == {other}


async def test_the_job_of_a_killed_program_leaves_the_queue(
    cluster: Slurm, shared: Path, tmp_path: Path
) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        f"""
import asyncio
from pathlib import Path
from radical.asyncflow import WorkflowEngine
async def main():
    flow = await WorkflowEngine.create(
        "radical_pilot", config={_CONFIG!r}, work_dir={str(tmp_path)!r}
    )
    Path({str(tmp_path / "queued")!r}).touch()
    await asyncio.sleep(3600)
asyncio.run(main())
"""
    )
    async with _full(cluster) as other:
        program = await asyncio.create_subprocess_exec(sys.executable, str(script), cwd=tmp_path)
        try:
            await until((tmp_path / "queued").exists)
            assert len(cluster.jobs("PD")) == 1
        finally:
            program.send_signal(signal.SIGKILL)
            await program.wait()
        await until(lambda: cluster.jobs("R", "PD") == {other})
