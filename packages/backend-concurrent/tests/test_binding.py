"""Workers that are bound to cores."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from asyncflow_backend_concurrent._slots.places import CorePlaces
from radical.asyncflow.backend import Resources, TaskState
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.worker import can_bind, core_order

pytestmark = pytest.mark.skipif(not can_bind(), reason="the system binds nothing to cores")

KINDS = ["thread", "process", "async"]
CORES = core_order() if can_bind() else []


def mine(_: object = None) -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0)))


def test_the_core_with_the_fewest_slots_comes_next() -> None:
    places = CorePlaces([4, 0, 6])
    assert [places.take() for _ in range(5)] == [4, 0, 6, 4, 0]
    places.give_back(0)
    places.give_back(0)
    assert [places.take() for _ in range(3)] == [0, 0, 6]


@pytest.mark.parametrize("kind", KINDS)
async def test_each_worker_has_a_core_of_its_own(start: Any, kind: str) -> None:
    driver = await start(executor_type=kind, bind=True, max_workers=len(CORES))

    def meet(folder: Path, count: int) -> tuple[int, ...]:
        """Wait until all slots are here, so that each has one task."""
        import time

        (folder / str(time.monotonic_ns())).touch(exist_ok=False)
        deadline = time.monotonic() + 60
        while len(list(folder.iterdir())) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return tuple(sorted(os.sched_getaffinity(0)))

    folder = driver.sink.work_dir() / "meeting"
    folder.mkdir()
    reports = await driver.run(*(driver.function(meet, folder, len(CORES)) for _ in CORES))
    assert sorted(report.value for report in reports) == sorted((core,) for core in CORES)
    assert set(os.sched_getaffinity(0)) == set(CORES)  # the program's own thread


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_of_several_cores_has_those_of_all_its_slots(start: Any, kind: str) -> None:
    driver = await start(executor_type=kind, bind=True, max_workers=len(CORES))
    wide = driver.function(mine, resources=Resources(cores=len(CORES)))
    narrow = driver.function(mine)
    for request in (narrow, wide, narrow._replace(task_id=10**6), wide._replace(task_id=10**6 + 1)):
        (report,) = await driver.run(request)
        expected = len(CORES) if request.spec is wide.spec else 1
        assert len(report.value) == expected


@pytest.mark.parametrize("kind", KINDS)
async def test_commands_are_not_bound(start: Any, kind: str) -> None:
    driver = await start(executor_type=kind, bind=True, max_workers=1)
    count = "import os; print(len(os.sched_getaffinity(0)))"
    for _ in range(2):
        first, second = await driver.run(
            driver.function(mine), driver.executable("python3", "-c", count)
        )
        assert len(first.value) == 1
        assert second.value.stdout == f"{len(CORES)}\n"


async def test_without_the_setting_nothing_is_bound(start: Any) -> None:
    driver = await start(max_workers=2)
    (report,) = await driver.run(driver.function(mine))
    assert report.value == tuple(sorted(CORES))


async def test_a_worker_process_that_is_replaced_has_the_core_of_its_slot(start: Any) -> None:
    driver = await start(executor_type="process", bind=True, max_workers=1)

    def die() -> None:
        os._exit(3)

    before, lost, after = [
        (await driver.run(driver.function(body)))[0] for body in (mine, die, mine)
    ]
    assert lost.state is TaskState.FAILED
    assert before.value == after.value == (CORES[0],)


async def test_a_thread_in_the_place_of_one_that_is_stuck_has_a_core_too(start: Any) -> None:
    driver = await start(bind=True, max_workers=1)
    free = threading.Event()
    stuck = driver.function(free.wait, 60)
    driver.submit(stuck)
    await driver.begun(stuck)
    driver.backend.cancel([stuck.task_id])
    (report,) = await driver.run(driver.function(mine))
    assert len(report.value) == 1
    free.set()
    await driver.sink.outcomes([stuck])


def test_bind_is_about_the_workers_of_the_backend() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ConfigurationError, match="bind"):
        ConcurrentExecutionBackend(pool, bind=True)
    with pytest.raises(ConfigurationError, match="bind"):
        ConcurrentExecutionBackend(bind="close")


def test_a_system_that_binds_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    with pytest.raises(ConfigurationError, match="such as Linux"):
        ConcurrentExecutionBackend(bind=True)
