"""Functions in worker processes: what travels, who is charged, who is stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
from radical.asyncflow.backend import Resources, TaskState
from radical.asyncflow.errors import RemoteError, SerializationError, WorkerLostError
from radical.asyncflow.worker import current_task

DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED


def double(number: int) -> int:
    return 2 * number


def process_id() -> int:
    return os.getpid()


def die(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)


def wait_for(path: str) -> None:
    Path(path + ".began").touch()
    while not Path(path).exists():
        time.sleep(0.005)


def append(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(text)


async def test_a_lambda_a_closure_and_a_function_of_a_test_module_travel(start: Any) -> None:
    driver = await start(executor_type="process")
    base = 10
    reports = await driver.run(
        driver.function(lambda: base + 1),
        driver.function(double, 4),
        driver.function(len, "abc"),
    )
    assert [report.value for report in reports] == [11, 8, 3]


async def test_a_worker_starts_though_the_current_folder_was_deleted(
    start: Any, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    before = Path.cwd()
    os.chdir(gone)
    gone.rmdir()
    try:
        driver = await start(executor_type="process", max_workers=1)
        [report] = await driver.run(driver.function(double, 4))
        assert report.value == 8
    finally:
        os.chdir(before)


async def test_a_function_whose_helper_was_bound_anew_is_sent_anew(start: Any) -> None:
    driver = await start(executor_type="process", max_workers=1)
    names: dict[str, Any] = {"__name__": "cell"}
    exec("def helper(): return 1\ndef task(): return helper()", names)
    (first,) = await driver.run(driver.function(names["task"]))
    exec("def helper(): return 2", names)
    (second,) = await driver.run(driver.function(names["task"]))
    assert (first.value, second.value) == (1, 2)


async def test_functions_that_nobody_holds_are_forgotten(start: Any) -> None:
    driver = await start(executor_type="process", max_workers=1)
    for at in range(300):
        (report,) = await driver.run(driver.function(lambda at=at: at))
        assert report.value == at
        driver.sink._expected.clear()
        del report
    (slot,) = driver.backend._slots._slots
    assert len(slot._codes.alive) < 10
    assert len(slot._worker.known) < 100


async def test_a_module_on_a_path_that_was_added_later_is_found(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await start(executor_type="process", max_workers=1)
    await driver.run(driver.function(double, 1))
    (tmp_path / "asyncflow_late.py").write_text("def answer():\n    return __file__\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import asyncflow_late  # type: ignore[import-not-found]

    try:
        (report,) = await driver.run(driver.function(asyncflow_late.answer))
    finally:
        del sys.modules["asyncflow_late"]
    assert report.value == str(tmp_path / "asyncflow_late.py")


async def test_an_array_arrives_writable_on_both_sides(start: Any) -> None:
    driver = await start(executor_type="process")

    def fill(array: Any) -> Any:
        array[:] = 7
        return array

    (report,) = await driver.run(driver.function(fill, np.zeros(1_000_000)))
    report.value[0] = 1
    assert report.value.sum() == 7 * 999_999 + 1


async def test_many_arrays_in_one_task_come_back_in_order(start: Any) -> None:
    driver = await start(executor_type="process")
    arrays = [np.full(4_000, at) for at in range(1_200)]
    (report,) = await driver.run(driver.function(lambda items: items[::-1], arrays))
    assert [int(array[0]) for array in report.value] == list(range(1_200))[::-1]


async def test_two_tasks_share_no_argument(start: Any) -> None:
    driver = await start(executor_type="process", max_workers=1)
    shared: list[Any] = [set()]

    def grow(items: list[Any]) -> int:
        items[0].add(len(items[0]))
        return len(items[0])

    reports = await driver.run(*(driver.function(grow, shared) for _ in range(20)))
    assert [report.value for report in reports] == [1] * 20


@pytest.mark.parametrize(
    ("what", "body", "args"),
    [
        ("arguments", double, (threading.Lock(),)),
        ("result", lambda: threading.Lock(), ()),
        ("function", (lambda lock: lambda: lock)(threading.Lock()), ()),
    ],
)
async def test_what_cannot_be_pickled_fails_its_task_alone(
    start: Any, what: str, body: Any, args: tuple[Any, ...]
) -> None:
    driver = await start(executor_type="process")
    bad, *good = await driver.run(
        driver.function(body, *args), *(driver.function(double, at) for at in range(30))
    )
    assert isinstance(bad.value, SerializationError)
    assert bad.value.what == what
    assert "lock" in str(bad.value)
    assert [report.value for report in good] == [2 * at for at in range(30)]


class ExitsOnArrival:
    def __reduce__(self) -> Any:
        return sys.exit, (3,)


async def test_an_argument_that_exits_when_it_is_rebuilt_fails_its_task(start: Any) -> None:
    driver = await start(executor_type="process", max_workers=1)
    bad, good = await driver.run(
        driver.function(double, ExitsOnArrival()), driver.function(double, 1)
    )
    assert isinstance(bad.value, SerializationError)
    assert good.value == 2


async def test_a_result_that_exits_when_it_is_rebuilt_fails_its_task(start: Any) -> None:
    driver = await start(executor_type="process", max_workers=1)
    bad, good = await driver.run(driver.function(ExitsOnArrival), driver.function(double, 1))
    assert (bad.value.what, good.value) == ("result", 2)


class NeedsTwoError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")

    def __reduce__(self) -> Any:
        return NeedsTwoError, (1,)


async def test_an_exception_that_cannot_be_rebuilt_is_named(start: Any) -> None:
    def fail() -> None:
        raise NeedsTwoError(1, 2)

    driver = await start(executor_type="process")
    (report,) = await driver.run(driver.function(fail))
    assert isinstance(report.value, RemoteError)
    assert (report.value.message, "NeedsTwoError" in report.value.type_name) == ("1 and 2", True)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1)]
)
async def test_what_would_end_a_program_fails_one_task(start: Any, error: BaseException) -> None:
    def fail(error: BaseException) -> None:
        raise error

    driver = await start(executor_type="process", max_workers=1)
    (before,) = await driver.run(driver.function(process_id))
    (report,) = await driver.run(driver.function(fail, error))
    (after,) = await driver.run(driver.function(process_id))
    assert type(report.value) is type(error)
    assert before.value == after.value


async def test_exactly_the_task_that_ran_is_charged_with_a_death(
    start: Any, tmp_path: Path
) -> None:
    driver = await start(executor_type="process", max_workers=1)
    path = str(tmp_path / "runs")
    # Until the function is known to be short, tasks travel one by one.
    for _ in range(20):
        await driver.run(*(driver.function(append, path, "") for _ in range(20)))
    requests = [driver.function(append, path, f"{at} ") for at in range(300)]
    requests[150] = driver.function(die, attempt=4)
    reports = await driver.run(*requests)
    lost = reports.pop(150)
    assert isinstance(lost.value, WorkerLostError)
    assert (lost.value.signal, lost.value.attempt, lost.value.task) == (9, 4, "die")
    assert {report.state for report in reports} == {DONE}
    ran = [int(word) for word in Path(path).read_text().split()]  # noqa: ASYNC240
    assert sorted(ran) == [at for at in range(300) if at != 150]


async def test_an_idle_worker_that_is_killed_is_charged_to_nobody(start: Any) -> None:
    driver = await start(executor_type="process", max_workers=1)
    (first,) = await driver.run(driver.function(process_id))
    os.kill(first.value, signal.SIGKILL)
    (second,) = await driver.run(driver.function(process_id))
    assert second.state is DONE
    assert second.value != first.value


async def test_a_task_that_exits_at_once_is_charged_with_the_exit_code(start: Any) -> None:
    driver = await start(executor_type="process")
    (report,) = await driver.run(driver.function(os._exit, 5))
    assert isinstance(report.value, WorkerLostError)
    assert report.value.signal is None
    assert "code 5" in str(report.value)


async def test_a_long_task_in_a_chunk_holds_up_nobody(
    start: Any, tmp_path: Path, appears: Any
) -> None:
    driver = await start(executor_type="process")

    def maybe_wait(path: str | None) -> None:
        if path:
            wait_for(path)

    for _ in range(20):
        await driver.run(*(driver.function(maybe_wait, None) for _ in range(40)))
    gate = tmp_path / "gate"
    requests = [driver.function(maybe_wait, None) for _ in range(200)]
    requests[3] = driver.function(maybe_wait, str(gate))
    driver.submit(*requests)
    others = requests[:3] + requests[4:]
    await driver.sink.outcomes(others)
    assert driver.sink.outcome(requests[3]) is None
    gate.touch()
    (report,) = await driver.sink.outcomes([requests[3]])
    assert report.state is DONE


@pytest.mark.parametrize("leaves", [False, True], ids=["in its group", "in a session of its own"])
async def test_cancelling_a_running_function_ends_it_and_what_it_started(
    start: Any, tmp_path: Path, appears: Any, leaves: bool
) -> None:
    def parent(path: str) -> None:
        import subprocess

        child = subprocess.Popen(["sleep", "60"], start_new_session=leaves)
        Path(path + ".new").write_text(str(child.pid))
        Path(path + ".new").rename(path)
        child.wait()

    driver = await start(executor_type="process", max_workers=1)
    request = driver.function(parent, str(tmp_path / "pid"))
    driver.submit(request)
    await appears(tmp_path / "pid")
    child = psutil.Process(int((tmp_path / "pid").read_text()))
    await driver.begun(request)
    driver.backend.cancel([request.task_id])
    (report,) = await driver.sink.outcomes([request])
    assert report.state is CANCELLED
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    (after,) = await driver.run(driver.function(double, 1))
    assert after.value == 2


async def test_a_function_that_ignores_sigterm_is_killed_after_the_grace(
    start: Any, tmp_path: Path, appears: Any
) -> None:
    def stubborn(path: str) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        wait_for(path)

    driver = await start(executor_type="process", max_workers=1, grace=0.2)
    request = driver.function(stubborn, str(tmp_path / "gate"))
    driver.submit(request)
    await appears(tmp_path / "gate.began")
    driver.backend.cancel([request.task_id])
    (report,) = await driver.sink.outcomes([request])
    assert report.state is CANCELLED


async def test_cancels_at_random_moments_hit_nobody_else(start: Any) -> None:
    driver = await start(executor_type="process")
    for _ in range(5):
        await driver.run(*(driver.function(double, at) for at in range(200)))
    for turn in range(15):
        requests = [driver.function(double, at) for at in range(60)]
        driver.submit(*requests)
        await driver.sink.until(lambda first=requests[turn]: driver.sink.has_begun(first))
        driver.backend.cancel([request.task_id for request in requests[::3]])
        reports = await driver.sink.outcomes(requests)
        kept = [report for at, report in enumerate(reports) if at % 3]
        assert [report.value for report in kept] == [2 * at for at in range(60) if at % 3]


async def test_ten_thousand_queued_tasks_are_cancelled_before_cancel_returns(
    start: Any, tmp_path: Path
) -> None:
    driver = await start(executor_type="process", max_workers=1)
    blocker = driver.function(wait_for, str(tmp_path / "gate"))
    queued = [driver.function(double, at) for at in range(10_000)]
    driver.submit(blocker)
    await driver.begun(blocker)
    driver.submit(*queued)
    driver.backend.cancel([request.task_id for request in queued])
    assert {driver.sink.outcome(request).state for request in queued} == {CANCELLED}
    (tmp_path / "gate").touch()
    await driver.sink.outcomes([blocker])


async def test_the_task_knows_itself_and_its_gpus(start: Any) -> None:
    def describe() -> Any:
        task = current_task()
        assert task is not None
        return task.name, task.attempt, task.gpus, os.environ.get("CUDA_VISIBLE_DEVICES")

    driver = await start(executor_type="process", gpus=[4, 6])
    (report,) = await driver.run(
        driver.function(describe, attempt=2, resources=Resources(gpus=2), name="it")
    )
    assert report.value == ("it", 2, (4, 6), "4,6")


async def test_a_worker_that_used_other_gpus_is_replaced(start: Any) -> None:
    def describe() -> Any:
        return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]

    driver = await start(executor_type="process", gpus=[0, 1], max_workers=1)
    (one,) = await driver.run(driver.function(describe, resources=Resources(gpus=1)))
    (again,) = await driver.run(driver.function(describe, resources=Resources(gpus=1)))
    (both,) = await driver.run(driver.function(describe, resources=Resources(gpus=2)))
    assert one.value == again.value
    assert (one.value[1], both.value[1]) == ("0", "0,1")
    assert both.value[0] != one.value[0]


def clock() -> tuple[float, float]:
    return time.monotonic(), time.monotonic()


async def test_a_report_says_when_the_worker_began_and_ended(start: Any) -> None:
    driver = await start(executor_type="process", max_workers=1)
    known: dict[int, float] = {}
    for _ in range(100):  # once it is known how short they are, they travel together
        requests = [driver.function(clock) for _ in range(30)]
        ends = {report.task_id: report for report in await driver.run(*requests)}
        begins = {
            report.task_id: report.time
            for report in driver.sink.reports
            if report.state is TaskState.RUNNING and report.task_id in ends
        }
        assert begins.keys() == ends.keys()
        known = {task_id: began for task_id, began in begins.items() if began is not None}
        if known:
            break
    assert known
    before = 0.0
    for task_id, began in known.items():
        inside, ended = ends[task_id].value, ends[task_id].time
        assert before <= began <= inside[0] <= inside[1] <= ended  # it had but one worker
        before = ended
