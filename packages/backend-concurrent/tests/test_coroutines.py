"""Async functions in one loop: how many at once, how they end, and what they leave."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from radical.asyncflow import (
    ResourceError,
    TaskExitError,
    TaskTimeoutError,
    UnsupportedOptionError,
    WorkflowEngine,
)
from radical.asyncflow.backend import Resources, TaskKind, TaskSpec, TaskState
from radical.asyncflow.worker import cancelled, current_task

DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED


@pytest.fixture
def begin(start: Any) -> Callable[..., Any]:
    """Starts a backend with a loop."""

    def make(**settings: Any) -> Any:
        return start(executor_type="async", **settings)

    return make


class Gate:
    """Lets functions in another loop wait until the test opens it."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self._opened = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.seen: list[str] = []

    async def wait(self, name: str = "") -> str:
        self._loop = asyncio.get_running_loop()
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self._opened.wait()
        except asyncio.CancelledError:
            self.seen.append(f"cancelled {cancelled()}")
            raise
        finally:
            self.seen.append(f"ended {name}")
            self.inside -= 1
        return name

    async def stay(self) -> None:
        """Wait, whatever is cancelled."""
        while not self._opened.is_set():
            try:
                await self.wait("stubborn")
            except asyncio.CancelledError:
                continue

    async def holds(self, count: int) -> None:
        """Wait until so many are inside; they are reported as begun a little earlier."""
        async with asyncio.timeout(60):
            while self.inside < count:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    def open(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._opened.set)


async def test_as_many_run_at_once_as_max_workers_says(begin: Any) -> None:
    driver = await begin(max_workers=300)
    gate = Gate()
    requests = [driver.function(gate.wait, str(at)) for at in range(1000)]
    driver.submit(*requests)
    await gate.holds(300)
    assert not driver.sink.has_begun(requests[300])
    gate.open()
    reports = await driver.sink.outcomes(requests)
    assert [report.value for report in reports] == [str(at) for at in range(1000)]
    assert gate.most == 300


def test_a_thousand_run_at_once_unless_it_is_said() -> None:
    assert ConcurrentExecutionBackend(executor_type="async").max_workers == 1000
    assert ConcurrentExecutionBackend(executor_type="async", max_workers=7).max_workers == 7


async def test_they_share_one_thread_beside_the_program(begin: Any) -> None:
    driver = await begin(max_workers=5)

    async def where() -> tuple[str, int]:
        return threading.current_thread().name, id(asyncio.get_running_loop())

    reports = await driver.run(*(driver.function(where) for _ in range(20)))
    ((name, loop),) = {report.value for report in reports}
    assert (name, loop != id(asyncio.get_running_loop())) == ("concurrent-loop", True)
    running = [report for report in driver.sink.reports if report.state is TaskState.RUNNING]
    assert {report.value for report in running} == {name}


async def test_a_cancelled_function_is_cancelled_at_its_await(begin: Any) -> None:
    driver = await begin()
    gate = Gate()
    request = driver.function(gate.wait)
    driver.submit(request)
    await gate.holds(1)
    driver.backend.cancel([request.task_id])
    driver.backend.cancel([request.task_id])
    (report,) = await driver.sink.outcomes([request])
    assert (report.state, gate.seen) == (CANCELLED, ["cancelled True", "ended "])


async def test_one_that_waits_for_its_turn_never_begins_and_its_next_attempt_does(
    begin: Any,
) -> None:
    driver = await begin(max_workers=1)
    gate = Gate()
    busy, waits = driver.function(gate.wait, "busy"), driver.function(gate.wait, "waits")
    driver.submit(busy, waits)
    await gate.holds(1)
    driver.backend.cancel([waits.task_id])
    assert driver.sink.outcome(waits).state is CANCELLED
    again = waits._replace(attempt=2)
    driver.submit(again)
    gate.open()
    reports = await driver.sink.outcomes([busy, again])
    assert [report.state for report in reports] == [DONE, DONE]
    assert gate.seen == ["ended busy", "ended waits"]


async def test_a_thousand_that_run_are_cancelled(begin: Any) -> None:
    driver = await begin(max_workers=1000)
    gate = Gate()
    requests = [driver.function(gate.wait) for _ in range(1500)]
    driver.submit(*requests)
    await gate.holds(1000)
    driver.backend.cancel([request.task_id for request in requests])
    reports = await driver.sink.outcomes(requests)
    assert {report.state for report in reports} == {CANCELLED}
    assert (gate.inside, len(gate.seen)) == (0, 2000)


async def test_one_that_ignores_its_cancellation_keeps_no_other_waiting(
    begin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    driver = await begin(max_workers=1)
    gate = Gate()
    first, second = (driver.function(gate.stay, name=name) for name in ("first", "second"))
    driver.submit(first)
    await gate.holds(1)
    driver.backend.cancel([first.task_id])
    driver.submit(second)
    await gate.holds(2)  # in the place of the first
    assert "task 'first' (#" in caplog.text
    assert "runs on though it was cancelled" in caplog.text
    driver.backend.cancel([second.task_id])
    third = driver.function(gate.wait)
    driver.submit(third)
    async with asyncio.timeout(30):
        while "no other task has its place" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not driver.sink.has_begun(third)
    gate.open()
    reports = await driver.sink.outcomes([first, second, third])
    assert [report.state for report in reports] == [CANCELLED, CANCELLED, DONE]
    again = [driver.function(gate.wait) for _ in range(3)]
    assert {report.state for report in await driver.run(*again)} == {DONE}


async def test_one_that_does_not_end_does_not_hang_the_shutdown(
    begin: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncflow_backend_concurrent.backend._ABANDON_S", 0.2)
    driver = await begin(grace=0.0)
    gate = Gate()  # never opened
    request = driver.function(gate.stay, name="stuck")
    driver.submit(request)
    await gate.holds(1)
    async with asyncio.timeout(30):
        await driver.backend.shutdown()
    assert driver.sink.outcome(request).state is CANCELLED
    assert "'stuck'" in caplog.text
    assert "left behind" in caplog.text


async def test_asyncio_tasks_of_a_function_end_with_it(begin: Any) -> None:
    driver = await begin(max_workers=2)
    gate = Gate()

    async def leave() -> str:
        inner = asyncio.create_task(gate.wait("child"))
        await asyncio.sleep(0)
        return inner.get_name()

    other = driver.function(gate.wait, "other")
    driver.submit(other)
    await gate.holds(1)
    (report,) = await driver.run(driver.function(leave))
    assert report.state is DONE
    assert gate.seen == ["cancelled False", "ended child"]
    assert gate.inside == 1  # the tasks of other functions go on
    gate.open()
    await driver.sink.outcomes([other])


async def test_one_that_cancels_every_asyncio_task_loses_none(begin: Any) -> None:
    driver = await begin(max_workers=3)

    async def cancel_all() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def wait() -> None:
        await asyncio.sleep(1000)

    requests = [driver.function(wait), driver.function(cancel_all), driver.function(wait)]
    first, second, third = await driver.run(*requests)
    assert (first.state, second.state, third.state) == (FAILED, DONE, FAILED)
    assert isinstance(third.value, asyncio.CancelledError)


async def test_the_loop_goes_on_whatever_a_function_does_to_it(begin: Any) -> None:
    driver = await begin()

    async def leave() -> None:
        raise SystemExit(3)

    async def spoil() -> str:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(leave())
        with pytest.raises(SystemExit):
            await task
        loop.stop()
        await asyncio.sleep(0)
        return "still here"

    reports = await driver.run(*(driver.function(spoil) for _ in range(3)))
    assert [report.value for report in reports] == ["still here"] * 3


async def test_other_functions_run_in_threads_and_commands_beside_them(begin: Any) -> None:
    driver = await begin(max_workers=3)
    gate = Gate()
    waits = [driver.function(gate.wait) for _ in range(3)]
    driver.submit(*waits)
    await gate.holds(3)
    plain = driver.function(lambda: (threading.current_thread().name, current_task().name))
    command = driver.executable("echo", "beside")
    first, second = await driver.run(plain, command)
    assert first.value in [("concurrent-1", "<lambda>"), ("concurrent-2", "<lambda>")]
    assert second.value.stdout == "beside\n"
    gate.open()
    await driver.sink.outcomes(waits)


async def test_an_async_function_gets_no_resources_and_a_plain_one_does(begin: Any) -> None:
    driver = await begin(gpus=[3])

    async def wait() -> None:
        pass

    spec = TaskSpec("wide", TaskKind.FUNCTION, wait, resources=Resources(gpus=1))
    with pytest.raises(UnsupportedOptionError, match=r"'wide'.*executor_type='async'"):
        driver.backend.check(spec)
    with pytest.raises(ResourceError, match="2 GPUs"):
        driver.backend.check(TaskSpec("w", TaskKind.FUNCTION, id, resources=Resources(gpus=2)))
    (report,) = await driver.run(
        driver.function(lambda: current_task().gpus, resources=Resources(gpus=1))
    )
    assert report.value == (3,)


async def test_one_that_holds_the_loop_is_named_with_the_place(
    begin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    driver = await begin()
    driver.backend._coroutines._watch._seconds = 0.02
    free = threading.Event()

    async def hold() -> None:
        free.wait(60)

    with caplog.at_level(logging.WARNING):
        request = driver.function(hold, name="greedy")
        driver.submit(request)
        async with asyncio.timeout(30):
            while "held the event loop" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    free.set()
    await driver.sink.outcomes([request])
    message = caplog.text
    assert f"task 'greedy' (#{request.task_id})" in message
    assert "threading.py" in message
    assert "asyncio.to_thread" in message


async def test_nobody_is_named_while_all_wait(begin: Any, caplog: pytest.LogCaptureFixture) -> None:
    driver = await begin()
    gate = Gate()
    request = driver.function(gate.wait)
    driver.submit(request)
    watch = driver.backend._coroutines._watch
    for _ in range(3):
        watch.end()
        watch._look()
        assert await asyncio.to_thread(watch._answered.wait, 30)
    gate.open()
    await driver.sink.outcomes([request])
    watch.end()
    watch._look()
    assert watch._timer is None  # there is no work
    assert "held" not in caplog.text


async def test_the_timeout_of_a_task_ends_it_at_its_await() -> None:
    gate = Gate()
    async with WorkflowEngine.create("concurrent", {"executor_type": "async"}) as flow:
        task = flow.function_task(timeout=0.05)(gate.wait)
        with pytest.raises(TaskTimeoutError):
            await task("late")
        assert await flow.function_task(asyncio.sleep)(0, "after") == "after"
        assert gate.seen == ["cancelled True", "ended late"]


async def test_a_function_cannot_end_the_program() -> None:
    async def leave() -> None:
        sys.exit(3)

    async with WorkflowEngine.create("concurrent", {"executor_type": "async"}) as flow:
        with pytest.raises(TaskExitError, match="SystemExit"):
            await flow.function_task(leave)()
        assert await flow.function_task(asyncio.sleep)(0, "after") == "after"


@pytest.mark.usefixtures("empty_folder")
def test_a_program_that_does_not_shut_down_finishes_what_it_submitted() -> None:
    code = """if True:
        import asyncio
        from radical.asyncflow import WorkflowEngine

        async def work(number):
            await asyncio.sleep(0.05)
            print("done", number, flush=True)

        async def main():
            flow = await WorkflowEngine.create("concurrent", {"executor_type": "async"})
            task = flow.function_task(work)
            for number in range(3):
                task(number)
            await asyncio.sleep(0)

        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert sorted(done.stdout.splitlines()) == ["done 0", "done 1", "done 2"], done.stderr


async def test_a_result_is_not_kept(begin: Any) -> None:
    driver = await begin()
    gone = threading.Event()

    class Thing:
        def __del__(self) -> None:
            gone.set()

    async def size(thing: Thing) -> int:
        await asyncio.sleep(0)
        return len(str(thing))

    request = driver.function(size, Thing())
    await driver.run(request)
    driver.sink._expected.clear()
    del request
    assert await asyncio.to_thread(gone.wait, 10)
