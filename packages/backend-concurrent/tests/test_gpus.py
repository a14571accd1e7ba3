"""GPUs that are found by themselves, and the worker processes that are warm on them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from fake_gpus import Tools, gpu_tools
from radical.asyncflow import current_task
from radical.asyncflow.backend import TaskKind, TaskSpec, TaskState
from radical.asyncflow.errors import ConfigurationError, ResourceError, WorkerLostError
from radical.asyncflow.model import Resources

__all__ = ["gpu_tools"]

ONE = Resources(gpus=1)
QUARTER = Resources(gpus=0.25)

Seen = tuple[int, tuple[Any, ...], str | None]


def see() -> Seen:
    """Return which process this is, and the GPUs of the task in both ways."""
    task = current_task()
    assert task is not None
    return os.getpid(), task.gpus, os.environ.get("CUDA_VISIBLE_DEVICES")


def meet(folder: str, number: int) -> Seen:
    """Wait until *number* tasks are here, and then return as `see`."""
    here = Path(folder)
    here.mkdir(exist_ok=True)
    (here / str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while len(list(here.iterdir())) < number:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return see()


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(pid: int) -> None:
    async with asyncio.timeout(60):
        while is_there(pid):  # noqa: ASYNC110 - another thread ends it
            await asyncio.sleep(0.01)


async def values(driver: Any, *requests: Any) -> list[Seen]:
    reports = await driver.run(*requests)
    assert [report.state for report in reports] == [TaskState.DONE] * len(reports)
    return [report.value for report in reports]


async def warm_quarters(driver: Any, folder: Path) -> set[int]:
    """Run four tasks that share a GPU at once; return their processes."""
    four = [driver.function(meet, str(folder), 4, resources=QUARTER) for _ in range(4)]
    seen = await values(driver, *four)
    assert {(gpus, visible) for _, gpus, visible in seen} == {((0,), "0")}
    pids = {pid for pid, _, _ in seen}
    assert len(pids) == 4
    return pids


# ----------------------------------------------------------------- what is found


@pytest.mark.parametrize("kind", ["thread", "process"])
async def test_a_gpu_is_found_when_the_first_task_asks_for_one(
    kind: str, gpu_tools: Tools, start: Any
) -> None:
    gpu_tools.nvidia(2)
    driver = await start(executor_type=kind)
    await values(driver, driver.function(see))
    assert gpu_tools.runs("nvidia-smi") == 0
    request = driver.function(see, resources=Resources(gpus=2))
    driver.backend.check(request.spec)
    ((_, gpus, visible),) = await values(driver, request)
    assert gpus == (0, 1)
    # Threads share the environment of the program.
    assert visible == ("0,1" if kind == "process" else None)
    assert gpu_tools.runs("nvidia-smi") == 1


async def test_the_variable_of_the_program_limits_its_tasks(
    gpu_tools: Tools, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_tools.nvidia(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5f3a1")
    driver = await start(executor_type="process")
    seen = await values(driver, *[driver.function(see, resources=ONE) for _ in range(4)])
    assert {(gpus, visible) for _, gpus, visible in seen} <= {
        ((3,), "3"),
        (("GPU-5f3a1",), "GPU-5f3a1"),
    }


async def test_a_refusal_says_where_was_looked(gpu_tools: Tools, start: Any) -> None:
    driver = await start()
    spec = TaskSpec("train", TaskKind.FUNCTION, print, resources=ONE)
    with pytest.raises(ResourceError, match=r"1 GPUs \(it has 0; none: nvidia-ml-py is not"):
        driver.backend.check(spec)


async def test_parts_for_more_ranks_than_there_is_room_for_are_refused(
    gpu_tools: Tools, start: Any
) -> None:
    gpu_tools.nvidia(2)
    driver = await start(max_workers=8)
    asked = Resources(gpus=0.6, ranks=3)
    with pytest.raises(ResourceError, match=r"0.6 GPUs for each of 3 ranks \(it has 2\)"):
        driver.backend.check(TaskSpec("mpi", TaskKind.EXECUTABLE, print, resources=asked))


@pytest.mark.parametrize(
    ("gpus", "words"),
    [
        (3, "gpus is 3, but there are only 2 to use (2 × NVIDIA H100, found by nvidia-smi)"),
        ([0, 7], "gpus names 7, which this machine does not have (2 ×"),
        (["GPU-0000"], "gpus names 'GPU-0000', which"),
    ],
)
def test_gpus_that_are_not_there_are_refused(gpus: Any, words: str, gpu_tools: Tools) -> None:
    gpu_tools.nvidia(2)
    with pytest.raises(ConfigurationError) as caught:
        ConcurrentExecutionBackend(gpus=gpus)
    assert words in str(caught.value)


async def test_workers_of_amd_gpus_have_the_variable_of_amd(gpu_tools: Tools, start: Any) -> None:
    gpu_tools.add("rocm-smi", '{"card0": {"Card Series": "MI250X"}}')
    driver = await start(executor_type="process")

    def hip() -> tuple[str | None, str | None]:
        return os.environ.get("HIP_VISIBLE_DEVICES"), os.environ.get("CUDA_VISIBLE_DEVICES")

    (report,) = await driver.run(driver.function(hip, resources=ONE))
    assert report.value == ("0", None)


# ----------------------------------------------------------------- warm workers


async def test_short_tasks_after_a_warm_one_all_run_on_its_worker(
    gpu_tools: Tools, start: Any
) -> None:
    gpu_tools.nvidia(1)
    driver = await start(executor_type="process", max_workers=4)
    ((warm, _, _),) = await values(driver, driver.function(see, resources=ONE))
    seen = await values(driver, *[driver.function(see, resources=ONE) for _ in range(16)])
    assert set(seen) == {(warm, (0,), "0")}


async def test_four_workers_share_a_gpu_and_stay_warm(
    gpu_tools: Tools, start: Any, tmp_path: Path
) -> None:
    gpu_tools.nvidia(1)
    driver = await start(executor_type="process", max_workers=8)
    pids = await warm_quarters(driver, tmp_path / "four")
    more = await values(driver, *[driver.function(see, resources=QUARTER) for _ in range(32)])
    assert {pid for pid, _, _ in more} <= pids
    ((whole, _, _),) = await values(driver, driver.function(see, resources=ONE))
    assert whole in pids


async def test_a_task_that_needs_all_of_a_gpu_ends_the_idle_workers_there(
    gpu_tools: Tools, start: Any, tmp_path: Path
) -> None:
    gpu_tools.nvidia(1)
    driver = await start(executor_type="process", max_workers=4)
    pids = await warm_quarters(driver, tmp_path / "four")
    half = driver.function(see, resources=Resources(gpus=0.5))
    ((first, _, _),) = await values(driver, half)
    # It runs on one of them, and beside a half there is room for two quarters.
    assert (first in pids, sum(map(is_there, pids))) == (True, 3)
    ((second, _, _),) = await values(driver, driver.function(see, resources=ONE))
    assert [pid for pid in pids if is_there(pid)] == [second]
    command = driver.executable("printenv", "CUDA_VISIBLE_DEVICES", resources=ONE)
    (report,) = await driver.run(command)
    assert (report.value.stdout, is_there(second)) == ("0\n", False)


async def test_no_worker_ever_sees_two_gpus(gpu_tools: Tools, start: Any) -> None:
    gpu_tools.nvidia(2)
    driver = await start(executor_type="process", max_workers=3)
    asked = [Resources(gpus=gpus) for gpus in (0, 0.5, 1, 2, 0.25, 0.75)] * 3
    requests = [driver.function(see, resources=resources) for resources in asked]
    seen = await values(driver, *requests)
    views: dict[int, set[str | None]] = {}
    for (pid, gpus, visible), resources in zip(seen, asked, strict=True):
        assert len(gpus) == -(-resources.gpus // 1)
        assert visible == (",".join(map(str, gpus)) or None)
        views.setdefault(pid, set()).add(visible)
    assert [view for view in views.values() if len(view) > 1] == []


async def test_tasks_without_a_gpu_leave_the_warm_worker_alone(
    gpu_tools: Tools, start: Any
) -> None:
    gpu_tools.nvidia(1)
    driver = await start(executor_type="process", max_workers=1)
    ((warm, _, _),) = await values(driver, driver.function(see, resources=ONE))
    plain = await values(driver, *[driver.function(see) for _ in range(5)])
    assert len({pid for pid, _, _ in plain} - {warm}) == 1
    assert {(gpus, visible) for _, gpus, visible in plain} == {((), None)}
    assert await values(driver, driver.function(see, resources=ONE)) == [(warm, (0,), "0")]


async def test_an_idle_worker_gives_the_memory_of_its_gpu_back(
    gpu_tools: Tools, start: Any, tmp_path: Path
) -> None:
    gpu_tools.nvidia(1)
    driver = await start(executor_type="process", max_workers=4, gpu_idle_timeout=0.2)
    for folder in ("first", "second"):
        for pid in await warm_quarters(driver, tmp_path / folder):
            await gone(pid)


async def test_without_patience_no_worker_keeps_a_gpu(gpu_tools: Tools, start: Any) -> None:
    gpu_tools.nvidia(1)
    driver = await start(executor_type="process", gpu_idle_timeout=0)
    pids = []
    for _ in range(2):
        ((pid, _, _),) = await values(driver, driver.function(see, resources=ONE))
        pids.append(pid)
        await gone(pid)
    assert len(set(pids)) == 2


async def test_with_endless_patience_a_worker_stays_until_the_shutdown(
    gpu_tools: Tools, start: Any
) -> None:
    gpu_tools.nvidia(1)
    driver = await start(executor_type="process", gpu_idle_timeout=float("inf"))
    ((pid, _, _),) = await values(driver, driver.function(see, resources=ONE))
    assert is_there(pid)
    await driver.backend.shutdown()
    assert not is_there(pid)


async def test_a_cancelled_task_ends_its_worker_and_frees_its_gpu(
    gpu_tools: Tools, start: Any, tmp_path: Path
) -> None:
    def stay(mark: Path) -> None:
        mark.touch()
        time.sleep(600)

    gpu_tools.nvidia(1)
    driver = await start(executor_type="process")
    ((warm, _, _),) = await values(driver, driver.function(see, resources=ONE))
    mark = tmp_path / "begun"
    stuck = driver.function(stay, mark, resources=ONE)
    driver.submit(stuck)
    while not mark.exists():  # noqa: ASYNC110 - what has not begun is taken back
        await asyncio.sleep(0.01)
    driver.backend.cancel([stuck.task_id])
    (report,) = await driver.sink.outcomes([stuck])
    assert report.state is TaskState.CANCELLED
    ((new, gpus, _),) = await values(driver, driver.function(see, resources=ONE))
    assert (new != warm, gpus, is_there(warm)) == (True, (0,), False)


async def test_the_death_of_a_gpu_worker_costs_its_task_alone(gpu_tools: Tools, start: Any) -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    gpu_tools.nvidia(1)
    driver = await start(executor_type="process")
    (plain,) = await values(driver, driver.function(see))
    (report,) = await driver.run(driver.function(die, resources=ONE))
    assert isinstance(report.value, WorkerLostError)
    ((_, gpus, _), again) = await values(
        driver, driver.function(see, resources=ONE), driver.function(see)
    )
    assert (gpus, plain[1:]) == ((0,), again[1:])


async def test_a_worker_that_died_while_it_was_idle_costs_no_task(
    gpu_tools: Tools, start: Any
) -> None:
    gpu_tools.nvidia(1)
    driver = await start(executor_type="process")
    ((warm, _, _),) = await values(driver, driver.function(see, resources=ONE))
    os.kill(warm, signal.SIGKILL)
    ((new, gpus, _),) = await values(driver, driver.function(see, resources=ONE))
    assert (new != warm, gpus) == (True, (0,))
