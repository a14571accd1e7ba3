"""Slots: how many tasks run at once, what wide ones get, what cancel and the end do."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from asyncflow_backend_concurrent._slots.slots import Slots
from radical.asyncflow.backend import Resources, TaskKind, TaskRequest, TaskSpec, TaskState
from radical.asyncflow.errors import ResourceError
from radical.asyncflow.worker import cancelled, current_task

DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED


class Meter:
    """Counts how much of something is in use, and the most that ever was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = 0

    def use(self, amount: int) -> int:
        with self._lock:
            self.now += amount
            self.most = max(self.most, self.now)
        time.sleep(0.002)
        with self._lock:
            self.now -= amount
        return amount


async def test_no_more_run_than_there_are_slots_whatever_their_kind(
    start: Any, tmp_path: Path
) -> None:
    driver = await start(max_workers=2)
    log = tmp_path / "log"

    def note() -> None:
        with log.open("a") as file:
            file.write("+\n")
        time.sleep(0.005)
        with log.open("a") as file:
            file.write("-\n")

    script = f"echo + >> {log}; sleep 0.005; echo - >> {log}"
    requests = [
        driver.function(note) if at % 2 else driver.executable("sh", "-c", script)
        for at in range(20)
    ]
    reports = await driver.run(*requests)
    assert [report.state for report in reports] == [DONE] * 20
    lines = log.read_text().split()
    assert (lines.count("+"), lines.count("-")) == (20, 20)
    count = most = 0
    for line in lines:
        count += 1 if line == "+" else -1
        most = max(most, count)
    assert 1 <= most <= 2


async def test_cores_are_never_overbooked_and_everybody_gets_a_turn(start: Any) -> None:
    driver = await start(max_workers=4)
    meter = Meter()
    cores = [1, 4, 1, 2, 3, 1, 1, 4, 2, 1] * 6
    reports = await driver.run(
        *(driver.function(meter.use, need, resources=Resources(cores=need)) for need in cores)
    )
    assert [report.value for report in reports] == cores
    assert meter.most == 4  # a task that needs all of them had them, and none had more


async def test_a_stream_of_narrow_tasks_does_not_starve_a_wide_one(start: Any) -> None:
    driver = await start(max_workers=2)
    order: list[str] = []
    narrow = [driver.function(lambda: (time.sleep(0.002), order.append("n"))) for _ in range(20)]
    wide = driver.function(lambda: order.append("W"), resources=Resources(cores=2))
    more = [driver.function(lambda: (time.sleep(0.002), order.append("n"))) for _ in range(200)]
    await driver.run(*narrow, wide, *more)
    assert order.count("n") == 220
    assert order.index("W") <= 22


async def test_a_wide_task_that_waits_can_be_cancelled_and_frees_the_slots(start: Any) -> None:
    driver = await start(max_workers=2)
    gate = threading.Event()
    busy = driver.function(gate.wait)
    wide = driver.function(print, resources=Resources(cores=2))
    narrow = driver.function(lambda: "ran")
    driver.submit(busy)
    await driver.begun(busy)
    driver.submit(wide, narrow)
    driver.backend.cancel([wide.task_id])
    try:
        assert driver.sink.outcome(wide).state is CANCELLED
        (report,) = await driver.sink.outcomes([narrow])
        assert report.value == "ran"
    finally:
        gate.set()
    await driver.sink.outcomes([busy])


async def test_memory_is_never_overbooked(start: Any) -> None:
    driver = await start(max_workers=4, memory="1000")
    meter = Meter()
    amounts = [600, 300, 700, 100, 1000, 200] * 5
    reports = await driver.run(
        *(driver.function(meter.use, size, resources=Resources(memory=size)) for size in amounts)
    )
    assert [report.value for report in reports] == amounts
    assert meter.most == 1000  # a task that needs all of it had it, and none had more


async def test_a_task_that_waits_for_a_gpu_holds_up_nobody_else(start: Any) -> None:
    driver = await start(max_workers=3, gpus=1)
    gate = threading.Event()
    holder = driver.function(gate.wait, resources=Resources(gpus=1))
    second = driver.function(lambda: current_task().gpus, resources=Resources(gpus=1))
    plain = driver.function(lambda: "ran")
    driver.submit(holder, second, plain)
    (report,) = await driver.sink.outcomes([plain])
    assert report.value == "ran"
    assert driver.sink.outcome(second) is None
    gate.set()
    assert [report.value for report in await driver.sink.outcomes([holder, second])] == [True, (0,)]


async def test_an_executable_sees_its_gpus_alone(start: Any) -> None:
    driver = await start(gpus=[2, 5])
    (report,) = await driver.run(
        driver.executable("printenv", "CUDA_VISIBLE_DEVICES", resources=Resources(gpus=2))
    )
    assert report.value.stdout == "2,5\n"


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        (Resources(cores=3), "3 cores"),
        (Resources(cores=2, ranks=2), "2 cores for each of 2 ranks"),
        (Resources(gpus=1), "1 GPUs"),
        (Resources(memory=2000), "2000 bytes"),
    ],
)
async def test_what_can_never_fit_is_refused(start: Any, asked: Resources, word: str) -> None:
    driver = await start(memory=1000, gpus=0)
    with pytest.raises(ResourceError, match=word):
        driver.backend.check(TaskSpec("big", TaskKind.FUNCTION, print, resources=asked))


async def test_ten_thousand_queued_tasks_are_cancelled_before_cancel_returns(start: Any) -> None:
    driver = await start(max_workers=1)
    gate = threading.Event()
    busy = driver.function(gate.wait)
    driver.submit(busy)
    await driver.begun(busy)
    queued = [driver.function(print) for _ in range(10_000)]
    driver.submit(*queued)
    for request in queued:
        driver.backend.cancel([request.task_id])
    assert all(driver.sink.outcome(request).state is CANCELLED for request in queued)
    gate.set()
    await driver.sink.outcomes([busy])


async def test_a_new_attempt_runs_after_the_cancel_of_a_queued_one(start: Any) -> None:
    driver = await start(max_workers=1)
    gate = threading.Event()
    busy = driver.function(gate.wait)
    driver.submit(busy)
    await driver.begun(busy)
    first = driver.function(lambda: "ran")
    keep = driver.function(print)  # so that the queue is not simply emptied
    driver.submit(first, keep)
    driver.backend.cancel([first.task_id])
    second = first._replace(attempt=2)
    driver.submit(second)
    gate.set()
    (report,) = await driver.sink.outcomes([second])
    assert (report.state, report.attempt) == (DONE, 2)
    await driver.sink.outcomes([keep, busy])


async def test_a_function_in_a_thread_is_told_and_its_slot_comes_back(start: Any) -> None:
    driver = await start(max_workers=1)

    def work() -> None:
        while not cancelled():
            time.sleep(0.001)

    request = driver.function(work)
    driver.submit(request)
    await driver.begun(request)
    driver.backend.cancel([request.task_id])
    (report,) = await driver.sink.outcomes([request])
    assert report.state is CANCELLED
    assert (await driver.run(driver.function(lambda: 1)))[0].value == 1


async def test_a_running_executable_ends_with_its_whole_group(start: Any) -> None:
    driver = await start(max_workers=1)
    request = driver.executable("sh", "-c", "trap '' TERM; sleep 60 & wait; sleep 60", name="x")
    driver.submit(request)
    await driver.begun(request)
    driver.backend.cancel([request.task_id])
    (report,) = await driver.sink.outcomes([request])
    assert report.state is CANCELLED


async def test_a_function_that_never_returns_does_not_hang_the_shutdown(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    driver = await start(max_workers=1, grace=0.0)
    gate = threading.Event()
    request = driver.function(gate.wait, name="stuck")
    driver.submit(request)
    await driver.begun(request)
    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(20):
            await driver.backend.shutdown()
    assert driver.sink.outcome(request).state is CANCELLED
    assert "'stuck'" in caplog.text
    gate.set()


class Thing:
    """Tells when nobody holds it any more."""

    def __init__(self, gone: threading.Event) -> None:
        self.gone = gone

    def __del__(self) -> None:
        self.gone.set()


async def test_a_waiting_slot_keeps_no_argument_alive(start: Any) -> None:
    driver = await start(max_workers=1)
    gone = threading.Event()
    request = driver.function(id, Thing(gone))
    await driver.run(request)
    driver.sink._expected.clear()
    del request
    assert await asyncio.to_thread(gone.wait, 10)


async def test_a_fork_of_tasks_uses_all_slots(start: Any) -> None:
    """One wake-up each: a barrier is passed only if all slots run at once."""
    driver = await start(max_workers=4)
    barrier = threading.Barrier(4)
    for _ in range(20):
        for report in await driver.run(
            *(driver.function(barrier.wait, 10, name="meet") for _ in range(4))
        ):
            assert report.state is DONE


async def test_more_executables_than_descriptors_all_succeed(start: Any) -> None:
    import resource

    driver = await start(max_workers=100)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/dev/fd").iterdir()))  # noqa: ASYNC240
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, hard))
    try:
        reports = await driver.run(*(driver.executable("true") for _ in range(150)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {report.value.exit_code for report in reports} == {0}


async def test_a_function_that_does_not_stop_keeps_no_other_waiting(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    driver = await start(max_workers=1)
    slots = driver.backend._slots
    free = threading.Event()
    first, second = (driver.function(free.wait, 60, name=name) for name in ("first", "second"))
    driver.submit(first)
    await driver.begun(first)
    driver.backend.cancel([first.task_id])
    (report,) = await driver.run(driver.function(int, "7"))  # in the place of the first
    assert report.value == 7
    assert "task 'first' (#" in caplog.text
    assert "another thread takes its place" in caplog.text
    driver.submit(second)
    await driver.begun(second)
    driver.backend.cancel([second.task_id])
    waits = driver.function(int, "8")
    driver.submit(waits)
    async with asyncio.timeout(30):
        while "no other task has its place" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not driver.sink.has_begun(waits)
    assert len(slots._slots) == 2
    free.set()
    gone, also, done = await driver.sink.outcomes([first, second, waits])
    assert (gone.state, also.state, done.value) == (CANCELLED, CANCELLED, 8)
    async with asyncio.timeout(30):
        while len(slots._slots) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    reports = await driver.run(*(driver.function(int, "9") for _ in range(20)))
    assert {report.value for report in reports} == {9}


def test_a_slot_looks_again_when_the_task_that_went_before_a_wide_one_was_taken() -> None:
    slots = Slots(Mock(slots=2), Mock(), Mock())
    first, second = Mock(), Mock()
    slots._slots = [first, second]
    wide = TaskSpec("wide", TaskKind.FUNCTION, len, resources=Resources(cores=2))
    deep = TaskRequest(2, 1, TaskSpec("deep", TaskKind.FUNCTION, len), depth=1)
    slots.submit([TaskRequest(1, 1, wide), deep])

    seen = slots.changes
    assert slots.admit(first) is None, "the deeper task goes first"
    assert slots.queue.take() is deep, "the second slot takes it, and has done it"
    assert slots.admit(second) is None, "it stands still for the wide task"
    assert slots.park(first, seen)
    assert not first.wake.acquire.called, "it sleeps, and nobody is left who would wake it"
    admission = slots.admit(first)
    assert admission is not None
    assert admission.lent == [second]
    slots._slots.clear()
    slots.close(cancel=True)
    slots.wait(0)
