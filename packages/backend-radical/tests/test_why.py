"""Why tasks wait on a pilot of this machine."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_radical import RadicalExecutionBackend
from polling import until
from radical.asyncflow import TaskFuture, WorkflowEngine
from radical.asyncflow.backend import WaitKind
from radical.asyncflow.model import WaitReason
from radical.asyncflow.testing import LeakGuard

pytestmark = pytest.mark.slow


def hold(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(0.01)


def only(flow: WorkflowEngine, future: TaskFuture[Any]) -> WaitReason:
    (reason,) = flow.why(future).reasons
    return reason


async def test_cores_and_workers_that_are_taken_are_told(tmp_path: Path) -> None:
    gates = [tmp_path / name for name in ("commands", "functions")]
    backend = RadicalExecutionBackend(walltime=20)
    cores = backend.plan()["cores"]
    async with LeakGuard(), WorkflowEngine.create(backend) as flow:

        @flow.executable_task(resources={"cores": cores})
        async def command() -> str:
            return f"while [ ! -e '{gates[0]}' ]; do sleep 0.05; done"

        first, second = command(), command()
        await until(lambda: first.state == "RUNNING" or second.state == "RUNNING")
        runs, waits = (first, second) if first.state == "RUNNING" else (second, first)
        assert not flow.why(runs)
        reason = only(flow, waits)
        assert (reason.kind, [task.number for task in reason.holders]) == (
            WaitKind.SLOT,
            [runs._number],
        )
        assert reason.text == (
            f"{cores} of the {cores} cores of the pilot of backend 'radical_pilot', of which "
            f"{cores} are taken"
        )
        gates[0].touch()
        await asyncio.gather(first, second)
        task = flow.function_task(hold, resources={"cores": cores})
        busy, last = task(str(gates[1])), task(str(gates[1]))
        assert only(flow, busy).kind is WaitKind.ENGINE
        await until(lambda: bool(busy.attempts))
        reason = only(flow, busy)
        assert (reason.kind, "which is starting" in reason.text) == (WaitKind.WORKER, True)
        await until(lambda: busy.state == "RUNNING")
        reason = only(flow, last)
        assert (reason.kind, [one.number for one in reason.holders], reason.ahead) == (
            WaitKind.SLOT,
            [busy._number],
            0,
        )
        assert "the only worker on the pilot" in reason.text
        gates[1].touch()
        await asyncio.gather(busy, last)
