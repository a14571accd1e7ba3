"""A pilot that a real batch system starts: Slurm, on this machine."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from asyncflow_backend_radical import PilotLostError, RadicalExecutionBackend
from polling import HANG_S, until
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import WaitKind
from radical.asyncflow.errors import DeathReason
from radical.asyncflow.testing import LeakGuard
from radical.asyncflow.worker import slurm_facts
from slurm_cluster import CORES, Slurm, demand_slurm, serve_slurm

from .slurm import CONFIG, use_slurm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Start Slurm; skip the tests where it is not installed, except in CI, which must have it."""
    demand_slurm()
    with serve_slurm(tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


@pytest.fixture
def shared(cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that the node shares with this machine."""
    return use_slurm(cluster, tmp_path, monkeypatch)


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
        backend = RadicalExecutionBackend(**CONFIG)
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
            says = "slurm says: PENDING ("
            await until(lambda: says in str(flow.why(first)))
            (reason,) = flow.why(first).reasons
            assert reason.kind is WaitKind.QUEUE
            assert [cause.count for cause in flow.why(futures[-1]).causes] == [1]
            cluster.cancel(other)
            results = await asyncio.gather(*futures)
        assert results == [f"{ours}\n", "0 of 2\n1 of 2\n", 84, f"{ours}\n"]
        await until(lambda: cluster.jobs("R", "PD", "CG") == set())
    assert [*shared.glob("asyncflow*"), *shared.glob("*/rp.session*")] == []  # noqa: ASYNC240


async def test_a_job_that_ends_is_a_lost_pilot_and_no_failed_command(
    cluster: Slurm, shared: Path, tmp_path: Path
) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend(**CONFIG)
        async with WorkflowEngine.create(backend, work_dir=tmp_path) as flow:
            run = flow.executable_task(lambda number: f"touch {tmp_path}/{number}; sleep 3600")
            futures = [run(number) for number in range(2)]
            await until(lambda: all((tmp_path / str(number)).exists() for number in range(2)))
            (job,) = cluster.jobs("R")
            cluster.cancel(job)
            outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [PilotLostError, PilotLostError]
    assert {outcome.reason for outcome in outcomes} == {DeathReason.JOB_CANCELLED}
    assert f"Slurm says of job {job}: CANCELLED" in str(outcomes[0])


async def test_a_node_that_fails_loses_the_pilot_and_lets_no_command_succeed(
    cluster: Slurm, shared: Path, tmp_path: Path
) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend(**CONFIG)
        async with WorkflowEngine.create(backend, work_dir=tmp_path) as flow:
            run = flow.executable_task(lambda name: f"touch {tmp_path}/{name}; sleep 3600")
            wide = run.options(resources={"ranks": 2})
            futures = [run("one"), wide("ranks"), flow.function_task(_wait)(str(tmp_path / "own"))]
            names = ("one", "ranks", "own")
            await until(lambda: all((tmp_path / name).exists() for name in names))
            cluster.fail_node()
            outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [PilotLostError] * 3
    assert {outcome.reason for outcome in outcomes} == {DeathReason.NODE}
    await until(cluster.up)


def _wait(file: str) -> None:
    Path(file).touch()
    time.sleep(3600)


async def test_the_next_job_runs_what_the_lost_one_had_not_begun(
    cluster: Slurm, shared: Path, tmp_path: Path
) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend(**CONFIG, restart_pilot=1)
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
        flow = await WorkflowEngine.create(RadicalExecutionBackend(**CONFIG))
        waiting = flow.executable_task(lambda: "echo never")()
        assert len(cluster.jobs("PD")) == 1
        await flow.shutdown()
        assert waiting.cancelled()
        assert cluster.jobs("R", "PD") == {other}


_PROGRAM = """
import asyncio, sys
from pathlib import Path
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import WaitKind

async def main():
    work_dir = Path(sys.argv[1])
    flow = await WorkflowEngine.create(
        "radical_pilot", config=CONFIG, work_dir=work_dir / "program"
    )
    (work_dir / "queued").touch()
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@asynccontextmanager
async def _queued_program(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program whose pilot is in the queue."""
    script = folder / "program.py"
    script.write_text(_PROGRAM.replace("CONFIG", repr(CONFIG)))
    words = (sys.executable, str(script), str(folder))
    program = await asyncio.create_subprocess_exec(*words, cwd=folder)
    try:
        await until((folder / "queued").exists)
        yield program
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()


async def test_the_job_of_a_killed_program_leaves_the_queue(
    cluster: Slurm, shared: Path, tmp_path: Path
) -> None:
    async with _full(cluster) as other:
        async with _queued_program(tmp_path):
            assert len(cluster.jobs("PD")) == 1
        await until(lambda: cluster.jobs("R", "PD") == {other})


async def test_the_job_of_a_killed_host_process_is_cancelled_even_if_the_program_is_gone(
    cluster: Slurm, shared: Path, tmp_path: Path
) -> None:
    async with _queued_program(tmp_path) as program:
        (job,) = cluster.jobs("PD", "R")
        await until(lambda: job in cluster.jobs("R"))
        children = psutil.Process(program.pid).children()
        (host,) = [one for one in children if "_host.main" in " ".join(one.cmdline())]
        host.kill()
        program.kill()
    await until(lambda: cluster.jobs("R", "PD", "CG") == set())
    assert slurm_facts(job)["JobState"] == "CANCELLED"
