"""Why tasks wait on a cluster."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from distributed import LocalCluster
from polling import until
from radical.asyncflow import TaskFuture, WorkflowEngine
from radical.asyncflow.backend import WaitKind
from radical.asyncflow.model import WaitReason
from radical.asyncflow.testing import LeakGuard


def hold(gate: str, *_: Any) -> None:
    while not Path(gate).exists():
        time.sleep(0.005)


def only(flow: WorkflowEngine, future: TaskFuture[Any]) -> WaitReason:
    (reason,) = flow.why(future).reasons
    return reason


async def test_threads_that_are_taken_and_dependencies_there_are_told(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    task = flow.function_task(hold)
    slots = flow.backend._session._workers.slots  # type: ignore[attr-defined]
    busy = [task(str(gate)) for _ in range(slots)]
    await until(lambda: all(future.state == "RUNNING" for future in busy))
    waits = task(str(gate))
    behind = task(str(gate), waits)
    await until(lambda: waits.attempts and behind.attempts)
    reason = only(flow, waits)
    assert (reason.kind, reason.held_by) == (WaitKind.SLOT, slots)
    assert {holder.number for holder in reason.holders} <= {future._number for future in busy}
    assert "of the workers of backend 'dask', all busy" in reason.text
    answer = flow.why(behind)
    assert [each.kind for each in answer.reasons] == [WaitKind.DEPENDENCY]
    assert [cause.reason.kind for cause in answer.causes] == [WaitKind.SLOT]
    assert not flow.why(busy[0])
    gate.touch()
    await asyncio.gather(*busy, waits, behind)


async def test_a_worker_that_nobody_has_started_is_told(tmp_path: Path) -> None:
    async with (
        LeakGuard(),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            asynchronous=True,
            dashboard_address=None,
        ) as cluster,
        WorkflowEngine.create(
            "dask", {"address": cluster.scheduler_address, "resource_patience": 1000}
        ) as flow,
    ):
        unfit = flow.function_task(hold, resources={"gpus": 2})(str(tmp_path))
        await until(lambda: bool(unfit.attempts))
        await until(lambda: only(flow, unfit).kind is WaitKind.WORKER)
        reason = only(flow, unfit)
        assert reason.text == "a worker with GPU=2, which none has; the task fails if none comes"
        assert reason.seconds is not None
        assert 0 < reason.seconds <= 1000
        unfit.cancel()
        await cluster.scale(0)
        await until(lambda: not flow.backend._session._workers.slots)  # type: ignore[attr-defined]
        alone = flow.function_task(hold)(str(tmp_path))
        await until(lambda: bool(alone.attempts))
        reason = only(flow, alone)
        assert (reason.kind, reason.text) == (
            WaitKind.WORKER,
            "a worker: the scheduler of backend 'dask' has none",
        )
        alone.cancel()
