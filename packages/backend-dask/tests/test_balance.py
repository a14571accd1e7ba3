"""No call waits behind a long one while another worker has nothing to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import dask
import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from asyncflow_backend_dask._messages.orders import PackedCall
from asyncflow_backend_dask._worker.running import CallQueue, RunningCall
from distributed import LocalCluster
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import LeakGuard

COUNT = 40


def step(folder: str, number: int) -> int:
    """Touch a file; number 0 does not return before all the others have."""
    deadline = time.monotonic() + 200
    while number == 0 and len(list(Path(folder).iterdir())) < COUNT - 1:
        assert time.monotonic() < deadline, "others wait behind this call"
        time.sleep(0.005)
    if number:
        (Path(folder) / str(number)).touch()
    return number


async def test_short_calls_that_are_packed_behind_a_long_one_run_elsewhere(
    tmp_path: Path, sizes_of: Callable[[WorkflowEngine], list[int]]
) -> None:
    settings = {"n_workers": 2, "dashboard_address": None}
    async with LeakGuard(), WorkflowEngine.create("dask", config=settings) as flow:
        task = flow.function_task(step)
        (tmp_path / "known").mkdir()
        await asyncio.gather(*[task(str(tmp_path / "known"), at + 1) for at in range(8)])
        (tmp_path / "packed").mkdir()
        sizes = sizes_of(flow)
        calls = [task(str(tmp_path / "packed"), at) for at in range(COUNT)]
        assert await asyncio.gather(*calls) == list(range(COUNT))
    assert sizes[0] > 1


@pytest.mark.parametrize(
    ("expected", "waiting", "seconds"),
    [(0.0, 200, 0.025), (0.001, 4, 0.025), (0.01, 9, 0.1), (0.1, 1, 0.2)],
)
def test_a_call_is_too_long_when_it_has_run_for_as_long_as_all_behind_it_would(
    expected: float, waiting: int, seconds: float
) -> None:
    queue = CallQueue(PackedCall(number, 1, "step", b"") for number in range(waiting))
    call = RunningCall("key", lambda: None, queue, False, expected)
    assert not call.is_too_long(call.begun + seconds - 0.001)
    assert call.is_too_long(call.begun + seconds + 0.001)


@pytest.mark.parametrize("pack", [True, False])
async def test_a_dask_task_that_waits_behind_a_long_one_goes_to_an_idle_worker(
    tmp_path: Path, pack: bool
) -> None:
    # Dask would move it, too, but not at once, and a task that it takes to be short never.
    with dask.config.set({"distributed.scheduler.work-stealing-interval": "1 day"}):
        async with (
            LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                processes=False,
                dashboard_address="127.0.0.1:0",
                asynchronous=True,
            ) as cluster,
            WorkflowEngine.create(DaskExecutionBackend(cluster=cluster, pack=pack)) as flow,
        ):
            calls = [flow.function_task(step)(str(tmp_path), at) for at in range(COUNT)]
            assert await asyncio.gather(*calls) == list(range(COUNT))


async def test_calls_that_have_to_run_on_a_worker_stay_there() -> None:
    async with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            asynchronous=True,
        ) as cluster,
        WorkflowEngine.create(DaskExecutionBackend(cluster=cluster)) as flow,
    ):
        first, _ = [worker.address for worker in cluster.workers.values()]

        def where(seconds: float) -> str:
            from distributed import get_worker

            time.sleep(seconds)
            return str(get_worker().address)

        task = flow.function_task(where, task_description={"workers": first})
        assert await asyncio.gather(*[task(0.01) for _ in range(20)]) == [first] * 20
