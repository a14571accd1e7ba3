"""Tasks that are at a worker before it begins them: who gets them, and who is charged.

A `Gate` holds a task until the test opens it, and a file tells when it has begun.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import Resources, TaskRequest, TaskState
from radical.asyncflow.errors import TaskTimeoutError, WorkerLostError

DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED

Appears = Callable[[Path], Awaitable[None]]


def hold(folder: str, number: int) -> int:
    """Note in *folder* that it runs, and go on until a file is there."""
    with Path(folder, "begun").open("a") as file:
        file.write(f"{number}\n")
    Path(folder, f"{number}.begun").touch()
    while not Path(folder, f"{number}.open").exists():
        time.sleep(0.002)
    return number


def hold_with(folder: str, number: int, data: bytes) -> int:
    return hold(folder, number) + len(data)


class Gates:
    """Tasks that hold, and the files that they wait for."""

    def __init__(self, folder: Path, driver: Any, appears: Appears) -> None:
        self.folder = folder
        self._driver = driver
        self._appears = appears

    def task(self, number: int, **options: Any) -> TaskRequest:
        request: TaskRequest = self._driver.function(hold, str(self.folder), number, **options)
        return request

    async def begun(self, *numbers: int) -> None:
        for number in numbers:
            await self._appears(self.folder / f"{number}.begun")

    def has_begun(self, number: int) -> bool:
        return (self.folder / f"{number}.begun").exists()

    def open(self, *numbers: int) -> None:
        for number in numbers:
            (self.folder / f"{number}.open").touch()

    def runs(self) -> Counter[int]:
        """Return how often each has begun."""
        return Counter(map(int, (self.folder / "begun").read_text().split()))


@pytest.fixture
def gates(tmp_path: Path, appears: Appears) -> Callable[[Any], Gates]:
    return lambda driver: Gates(tmp_path, driver, appears)


async def ahead(driver: Any) -> None:
    """Wait until a worker has a task that it has not begun."""
    async with asyncio.timeout(30):
        slots = driver.backend._slots._slots
        while not any(len(list(slot.holds())) > 1 for slot in slots):  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_the_next_task_is_at_the_worker_and_is_not_reported_as_running(
    start: Any, gates: Any
) -> None:
    driver = await start(executor_type="process", max_workers=1)
    files = gates(driver)
    first, second = files.task(1), files.task(2)
    driver.submit(first, second)
    await files.begun(1)
    await ahead(driver)
    assert driver.sink.has_begun(first)
    assert not driver.sink.has_begun(second)
    files.open(1)
    await driver.begun(second)
    await files.begun(2)
    files.open(2)
    assert [report.value for report in await driver.sink.outcomes([first, second])] == [1, 2]
    assert files.runs() == {1: 1, 2: 1}


async def test_a_task_that_comes_later_goes_ahead_to_a_worker_that_runs_a_long_one(
    start: Any, gates: Any
) -> None:
    driver = await start(executor_type="process", max_workers=1)
    files = gates(driver)
    first, second = files.task(1), files.task(2)
    driver.submit(first)
    await files.begun(1)
    driver.submit(second)
    await ahead(driver)
    files.open(1, 2)
    assert [report.value for report in await driver.sink.outcomes([first, second])] == [1, 2]


async def test_no_task_waits_behind_a_long_one_while_a_worker_idles(start: Any, gates: Any) -> None:
    driver = await start(executor_type="process", max_workers=2)
    files = gates(driver)
    requests = [files.task(number) for number in range(4)]
    driver.submit(*requests)
    # Two run and two are ahead.  Whichever worker comes to its end, everything else begins.
    begun: list[int] = []
    async with asyncio.timeout(60):
        while len(begun) < 2:
            await asyncio.sleep(0.002)
            begun = [number for number in range(4) if files.has_begun(number)]
    kept, ended = begun
    rest = [number for number in range(4) if number not in begun]
    files.open(ended)
    await driver.sink.outcomes([requests[ended]])
    files.open(*rest)
    await driver.sink.outcomes([requests[number] for number in rest])
    assert driver.sink.outcome(requests[kept]) is None
    files.open(kept)
    await driver.sink.outcomes(requests)
    assert files.runs() == dict.fromkeys(range(4), 1)


async def test_a_task_ahead_that_is_cancelled_ends_at_once_and_never_runs(
    start: Any, gates: Any
) -> None:
    driver = await start(executor_type="process", max_workers=1)
    files = gates(driver)
    requests = [files.task(number) for number in range(3)]
    driver.submit(*requests)
    await files.begun(0)
    await ahead(driver)
    driver.backend.cancel([requests[1].task_id])
    assert driver.sink.outcome(requests[1]).state is CANCELLED
    assert driver.sink.outcome(requests[0]) is None
    files.open(0, 2)
    states = [report.state for report in await driver.sink.outcomes(requests)]
    assert states == [DONE, CANCELLED, DONE]
    assert files.runs() == {0: 1, 2: 1}


async def test_a_task_ahead_of_one_that_is_cancelled_runs_once(start: Any, gates: Any) -> None:
    driver = await start(executor_type="process", max_workers=1)
    files = gates(driver)
    first, second = files.task(1), files.task(2)
    driver.submit(first, second)
    await files.begun(1)
    await ahead(driver)
    driver.backend.cancel([first.task_id])
    files.open(2)
    states = [report.state for report in await driver.sink.outcomes([first, second])]
    assert states == [CANCELLED, DONE]
    assert files.runs() == {1: 1, 2: 1}


async def test_a_death_is_charged_to_the_task_that_ran_and_not_to_those_ahead(
    start: Any, gates: Any
) -> None:
    def pid_and_hold(folder: str) -> None:
        Path(folder, "pid.new").write_text(str(os.getpid()))
        Path(folder, "pid.new").rename(Path(folder, "0.begun"))
        while True:
            time.sleep(1)

    driver = await start(executor_type="process", max_workers=1)
    files = gates(driver)
    running = driver.function(pid_and_hold, str(files.folder), name="running")
    others = [files.task(number) for number in range(1, 4)]
    driver.submit(running, *others)
    await files.begun(0)
    await ahead(driver)
    os.kill(int((files.folder / "0.begun").read_text()), signal.SIGKILL)
    files.open(1, 2, 3)
    lost, *rest = await driver.sink.outcomes([running, *others])
    assert isinstance(lost.value, WorkerLostError)
    assert lost.value.task == "running"
    assert [report.value for report in rest] == [1, 2, 3]
    assert files.runs() == {1: 1, 2: 1, 3: 1}


async def test_arguments_that_fill_every_buffer_hold_up_neither_a_result_nor_a_cancel(
    start: Any, gates: Any
) -> None:
    driver = await start(executor_type="process", max_workers=1)
    files = gates(driver)
    first, third = files.task(1), files.task(3)
    large = driver.function(hold_with, str(files.folder), 2, bytes(3_000_000))
    driver.submit(first, large, third)
    await files.begun(1)
    await driver.begun(first)
    await ahead(driver)
    driver.backend.cancel([large.task_id])
    assert driver.sink.outcome(large).state is CANCELLED
    files.open(1, 3)
    states = [report.state for report in await driver.sink.outcomes([first, large, third])]
    assert states == [DONE, CANCELLED, DONE]
    again = driver.function(hold_with, str(files.folder), 4, bytes(3_000_000))
    files.open(4)
    (report,) = await driver.run(again)
    assert report.value == 3_000_004
    assert files.runs() == {1: 1, 3: 1, 4: 1}


async def test_an_earlier_task_leaves_a_busy_worker_for_one_that_comes_free(
    start: Any, gates: Any
) -> None:
    driver = await start(executor_type="process", max_workers=2)
    files = gates(driver)
    requests = [files.task(number) for number in range(8)]
    driver.submit(*requests)
    for turn in range(7):
        # Of all that have not ended, the two that came first run.
        await files.begun(turn)
        driver.backend.cancel([requests[turn].task_id])
        await driver.sink.outcomes([requests[turn]])
    files.open(7)
    (report,) = await driver.sink.outcomes(requests[7:])
    assert report.value == 7


async def test_a_wide_task_never_shares_its_cores_with_one_that_is_ahead(
    start: Any, tmp_path: Path
) -> None:
    def use(path: str, cores: int) -> int:
        with Path(path).open("a") as file:
            file.write(f"{cores}\n")
        time.sleep(0.004)
        with Path(path).open("a") as file:
            file.write(f"{-cores}\n")
        return cores

    driver = await start(executor_type="process", max_workers=4, gpus=[0, 1], memory=100)
    log = str(tmp_path / "cores")
    asked = [
        Resources(cores=3 if at % 10 == 5 else 1, gpus=int(at % 7 == 3), memory=(at % 5) // 4 * 60)
        for at in range(80)
    ]
    reports = await driver.run(
        *(driver.function(use, log, need.cores, resources=need) for need in asked)
    )
    assert [report.value for report in reports] == [need.cores for need in asked]
    used = most = 0
    for line in Path(log).read_text().split():  # noqa: ASYNC240
        used += int(line)
        most = max(most, used)
    assert used == 0
    assert most <= 4


async def test_nothing_is_ahead_of_a_task_with_a_gpu(start: Any, gates: Any) -> None:
    driver = await start(executor_type="process", max_workers=1, gpus=[0])
    files = gates(driver)
    wide, plain = files.task(1, resources=Resources(gpus=1)), files.task(2)
    driver.submit(wide, plain)
    await files.begun(1)
    files.open(2)
    (slot,) = driver.backend._slots._slots
    assert list(slot.holds()) == [wide.task_id]
    files.open(1)
    assert [report.value for report in await driver.sink.outcomes([wide, plain])] == [1, 2]


async def test_a_timeout_counts_from_the_moment_when_a_task_truly_begins(
    tmp_path: Path, appears: Appears
) -> None:
    config = {"executor_type": "process", "max_workers": 1, "grace": 0.5}
    create = WorkflowEngine.create(backend="concurrent", config=config, work_dir=tmp_path)
    async with create as flow:
        plain = flow.function_task(hold)
        short = flow.function_task(hold, timeout=1.0)
        first = plain(str(tmp_path), 1)
        ahead, late = short(str(tmp_path), 2), short(str(tmp_path), 3)
        await appears(tmp_path / "1.begun")
        # Longer than the timeout of those that wait at the worker.
        await asyncio.sleep(1.5)
        assert not ahead.done()
        (tmp_path / "2.open").touch()
        (tmp_path / "1.open").touch()
        assert await first == 1
        assert await ahead == 2
        with pytest.raises(TaskTimeoutError):
            await late


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_each_task_begins_once(
    start: Any, tmp_path: Path, seed: int
) -> None:
    import random

    def note(path: str, number: int, seconds: float, ends: bool) -> int:
        with Path(path).open("a") as file:
            file.write(f"{number}\n")
        if ends:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(seconds)
        return number

    dice = random.Random(seed)
    log = str(tmp_path / "log")
    driver = await start(executor_type="process", max_workers=4)
    requests = [
        driver.function(note, log, number, dice.choice([0, 0, 0.001, 0.02]), dice.random() < 0.03)
        for number in range(200)
    ]
    at = 0
    while at < len(requests):
        size = dice.randrange(1, 40)
        driver.submit(*requests[at : at + size])
        chosen = [request.task_id for request in requests[: at + size] if dice.random() < 0.05]
        await driver.sink.until(lambda: driver.sink.has_begun(requests[0]))
        driver.backend.cancel(chosen)
        at += size
    reports = await driver.sink.outcomes(requests)
    runs = Counter(map(int, Path(log).read_text().split()))  # noqa: ASYNC240
    assert set(runs.values()) == {1}
    for number, report in enumerate(reports):
        ends = requests[number].args[3]
        if report.state is DONE:
            assert (report.value, runs[number], ends) == (number, 1, False)
        elif report.state is FAILED:
            assert isinstance(report.value, WorkerLostError)
            assert ends
