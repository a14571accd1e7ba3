"""Functions on an executor that was handed in."""

from __future__ import annotations

import os
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from loky import ProcessPoolExecutor as LokyExecutor  # type: ignore[import-untyped]
from loky.backend import resource_tracker  # type: ignore[import-untyped]
from radical.asyncflow.backend import TaskKind, TaskState
from radical.asyncflow.errors import SerializationError, WorkerLostError


@pytest.fixture(scope="session", autouse=True)
def loky_tracker() -> None:
    """A helper process that loky keeps until the interpreter ends; started before the guard.

    joblib has a copy of loky, which takes part once something has imported it.
    """
    from joblib.externals.loky.backend import resource_tracker as copy

    resource_tracker.ensure_running()
    copy.ensure_running()


def make_processes() -> Executor:
    import multiprocessing

    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture(
    params=[lambda: ThreadPoolExecutor(2), make_processes, lambda: LokyExecutor(2)],
    ids=["threads", "processes", "loky"],
)
def executor(request: pytest.FixtureRequest) -> Executor:
    made: Executor = request.param()
    return made


async def test_functions_of_both_kinds_run_and_fail_on_it(start: Any, executor: Executor) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    def fail() -> None:
        raise SystemExit(4)

    driver = await start(executor)
    added, failed, lambdas = await driver.run(
        driver.function(add, 1, 2), driver.function(fail), driver.function(lambda: "here")
    )
    assert (added.value, lambdas.value) == (3, "here")
    assert isinstance(failed.value, SystemExit)
    await driver.backend.shutdown()


async def test_what_cannot_be_pickled_fails_its_task(start: Any) -> None:
    import threading

    driver = await start(make_processes())
    argument, result, good = await driver.run(
        driver.function(id, threading.Lock()),
        driver.function(lambda: threading.Lock()),
        driver.function(lambda: 1),
    )
    assert isinstance(argument.value, SerializationError)
    assert isinstance(result.value, SerializationError)
    assert (argument.value.what, result.value.what, good.value) == ("arguments", "result", 1)


async def test_a_broken_pool_says_so(start: Any) -> None:
    driver = await start(make_processes())
    (report,) = await driver.run(driver.function(os._exit, 1))
    (later,) = await driver.run(driver.function(print))
    for each in (report, later):
        assert isinstance(each.value, WorkerLostError)
        assert "executor_type='process'" in str(each.value)


async def test_executables_run_beside_it(start: Any) -> None:
    driver = await start(ThreadPoolExecutor(1))
    (report,) = await driver.run(driver.executable("echo", "hello"))
    assert report.value.stdout == "hello\n"


async def test_a_function_that_waits_in_it_is_cancelled_at_once(start: Any) -> None:
    import threading

    gate = threading.Event()
    driver = await start(ThreadPoolExecutor(1))
    busy, waiting = driver.function(gate.wait), driver.function(print)
    driver.submit(busy, waiting)
    await driver.begun(busy)
    driver.backend.cancel([waiting.task_id])
    assert driver.sink.outcome(waiting).state is TaskState.CANCELLED
    gate.set()
    await driver.sink.outcomes([busy])


async def test_it_is_shut_down_with_the_backend(start: Any) -> None:
    executor = ThreadPoolExecutor(1)
    driver = await start(executor)
    await driver.backend.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(print)


async def test_it_may_outlive_the_backend(start: Any) -> None:
    with ThreadPoolExecutor(1) as executor:
        driver = await start(executor, shutdown_executor=False)
        await driver.run(driver.function(print))
        await driver.backend.shutdown()
        assert executor.submit(len, "ab").result(10) == 2


async def test_capabilities_promise_no_more_than_an_executor_keeps(start: Any) -> None:
    driver = await start(make_processes())
    able = driver.backend.capabilities
    assert able.kills_running == {TaskKind.EXECUTABLE}
    assert (able.isolates, able.pickles, able.resources) == (False, True, frozenset())


async def test_an_executor_that_refuses_fails_the_task(start: Any) -> None:
    class Refusing(Executor):
        def submit(self, *_args: Any, **_kwargs: Any) -> Future[Any]:
            raise OSError("no room")

    driver = await start(Refusing())
    (report,) = await driver.run(driver.function(print))
    assert isinstance(report.value, OSError)
