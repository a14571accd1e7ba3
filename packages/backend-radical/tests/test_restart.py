"""With ``restart_pilot`` the next pilot takes what a lost one had not begun, and retries."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from asyncflow_backend_radical import PilotLostError, RadicalExecutionBackend
from polling import HANG_S, until
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import LeakGuard

from .support import below

pytestmark = pytest.mark.slow


async def command(value: Any) -> Any:
    return value


def where() -> tuple[int, str]:
    return os.getpid(), os.environ["RP_CORES_PER_RANK"]


def kill_agent(folder: Path) -> None:
    """Kill the agent of the pilot that runs in *folder*."""
    agents = [each for each in below(folder) if "rp.agent.0" in " ".join(each.cmdline())]
    assert agents != []
    for agent in agents:
        agent.send_signal(signal.SIGKILL)


def kill_host() -> None:
    """Kill the process that holds RADICAL-Pilot."""
    children = psutil.Process().children()
    (host,) = [each for each in children if "_host.main" in " ".join(each.cmdline())]
    host.kill()


async def test_the_next_pilot_takes_what_had_not_begun_and_what_is_retried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One pilot's agent is killed, with tasks running and waiting; then the next one's host."""
    async with LeakGuard():
        raptor = {"workers": 1, "cores_per_worker": 2}
        backend = RadicalExecutionBackend(walltime=10, restart_pilot=1, raptor=raptor)
        with caplog.at_level(logging.WARNING, "radical.asyncflow"):
            flow = await WorkflowEngine.create(backend, work_dir=tmp_path)
            run = flow.executable_task(resources={"cores": 4})(command)
            line = f"echo once >> {tmp_path}/NAME; test -e {tmp_path}/killed || sleep 300; echo ok"
            lost = run(line.replace("NAME", "lost"))
            retried = run.options(retries=1, resources={"cores": 3})(
                line.replace("NAME", "retried")
            )
            await until(lambda: (tmp_path / "lost").exists() and (tmp_path / "retried").exists())
            # One core is free: too few for these, and enough for a task that comes behind them.
            waiting = run(f"echo once >> {tmp_path}/waiting; echo new")
            functions = [flow.function_task(where)() for _ in range(5)]
            cancelled = run("echo never")
            assert await flow.executable_task(command)("echo behind") == "behind\n"
            cancelled.cancel()
            (tmp_path / "killed").touch()
            kill_agent(tmp_path)
            async with asyncio.timeout(HANG_S):
                with pytest.raises(PilotLostError, match="its logs are in"):
                    await lost
                assert await retried == "ok\n"
                assert await waiting == "new\n"
                places = await asyncio.gather(*functions)
            assert [retried.attempts, waiting.attempts] == [2, 1]
            assert cancelled.cancelled()

            # No third one follows: the end of the process that holds the second is final.
            last = run(f"touch {tmp_path}/last; sleep 300")
            await until((tmp_path / "last").exists)
            kill_host()
            with pytest.raises(PilotLostError, match="the process that held RADICAL-Pilot died"):
                await asyncio.wait_for(last, HANG_S)
            await flow.shutdown()
    assert {cores for _, cores in places} == {"2"}
    assert len({process for process, _ in places}) == 1
    assert "the next pilot takes over" in caplog.text
    counts = {name: (tmp_path / name).read_text().count("once") for name in ("lost", "waiting")}
    assert counts == {"lost": 1, "waiting": 1}
    assert below(tmp_path) == []
    assert len(list(tmp_path.glob("*/host.log"))) == 1  # noqa: ASYNC240 - kept after a failure


async def test_the_last_pilot_that_is_lost_fails_all(tmp_path: Path) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend(walltime=10)
        flow = await WorkflowEngine.create(backend, work_dir=tmp_path)
        run = flow.executable_task(resources={"cores": 8})(command)
        running = run(f"touch {tmp_path}/began; sleep 300")
        await until((tmp_path / "began").exists)
        waiting = run("echo never")
        kill_agent(tmp_path)
        async with asyncio.timeout(HANG_S):
            outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [PilotLostError, PilotLostError]
        with pytest.raises(PilotLostError):
            await run("echo late")
        await flow.shutdown()
    assert below(tmp_path) == []


@pytest.mark.soak
async def test_the_end_of_the_walltime_is_a_lost_pilot_and_the_next_one_goes_on(
    tmp_path: Path,
) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend(walltime="00:01:00", restart_pilot=1)
        flow = await WorkflowEngine.create(backend, work_dir=tmp_path)
        run = flow.executable_task(resources={"cores": 8})(command)
        running = run(f"touch {tmp_path}/began; sleep 300")
        await until((tmp_path / "began").exists)
        waiting = run("echo next")
        async with asyncio.timeout(HANG_S):
            with pytest.raises(PilotLostError) as caught:
                await running
            assert await waiting == "next\n"
        assert caught.value.state == "DONE"
        await flow.shutdown()
    assert below(tmp_path) == []
