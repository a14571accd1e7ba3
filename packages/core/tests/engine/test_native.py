"""Backends that order tasks themselves and keep the values where they were made."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from radical.asyncflow import DependencyFailureError, TaskFuture, WorkflowEngine
from radical.asyncflow.backend import RemoteValue, TaskKind, TaskRef
from radical.asyncflow.testing import ScriptedBackend

from .waiting import turns, until


def identity(value: Any = None) -> Any:
    return value


@pytest.fixture
def native() -> ScriptedBackend:
    return ScriptedBackend(
        name="native",
        kinds=(TaskKind.FUNCTION, TaskKind.EXECUTABLE),
        native_dependencies=True,
        remote_results=True,
    )


@pytest.fixture
def plain() -> ScriptedBackend:
    return ScriptedBackend(name="plain")


@pytest.fixture
async def flow(native: ScriptedBackend, plain: ScriptedBackend) -> AsyncIterator[WorkflowEngine]:
    engine = await WorkflowEngine.create([native, plain])
    yield engine
    await engine.shutdown()


async def test_a_chain_is_submitted_at_once_with_references(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    native.hold()
    task = flow.function_task(identity)
    first = task(7)
    second = task([first])
    third = task(value=second)
    await until(lambda: len(native.waiting()) == 3)
    one, two, three = native.submitted
    assert (one.args, two.args, three.kwargs) == ((7,), ([TaskRef(1)],), {"value": TaskRef(2)})
    assert (one.dependencies, two.dependencies, three.dependencies) == ((), (1,), (2,))
    native.release()
    assert await third == [7]


async def test_a_call_that_comes_later_follows_too(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    native.hold()
    task = flow.function_task(identity)
    first = task(7)
    await until(native.waiting)
    second = task(first)
    await until(lambda: len(native.waiting()) == 2)
    native.release()
    assert await second == 7


async def test_a_value_is_fetched_only_when_somebody_wants_it(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    task = flow.function_task(identity)
    first = task(7)
    assert await task(first) == 7
    assert first.state == "DONE"
    assert native.fetched == {2: 1}
    assert await first == 7
    assert native.fetched == {1: 1, 2: 1}


async def test_a_value_that_is_wanted_often_is_fetched_once(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    future = flow.function_task(identity)(7)
    assert await asyncio.wait_for(future, 20) == 7
    assert (await future, future.result(), native.fetched[1]) == (7, 7, 1)


async def test_a_callback_wants_the_value(flow: WorkflowEngine, native: ScriptedBackend) -> None:
    values: list[Any] = []
    future = flow.function_task(identity)(7)
    future.add_done_callback(lambda done: values.append(done.result()))
    await until(lambda: values)
    assert (values, native.fetched) == ([7], {1: 1})


async def test_a_finished_value_is_referred_to_on_its_backend(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    task = flow.function_task(identity)
    first = task(7)
    await until(lambda: first.state == "DONE")
    assert await task([first]) == [7]
    assert (native.submitted[1].args, native.fetched) == (([TaskRef(1)],), {2: 1})


async def test_a_value_is_released_when_its_future_is_dropped(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    future: TaskFuture[Any] | None = flow.function_task(identity)(7)
    await until(lambda: future is None or future.state == "DONE")
    future = None
    gc.collect()
    assert native.released == [1]


async def test_a_fetched_value_is_still_referred_to_on_its_backend(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    task = flow.function_task(identity)
    future = task(7)
    await future
    assert await task(future) == 7
    assert native.submitted[1].args == (TaskRef(1),)


async def test_a_fetched_value_is_released_when_its_future_is_dropped(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    future: TaskFuture[Any] | None = flow.function_task(identity)(7)
    assert future is not None
    await future
    assert native.released == []
    future = None
    # The work that brought it here ends in the next turn of the loop.
    await until(lambda: gc.collect() is not None and native.released)
    assert native.released == [1]


async def test_a_dependent_on_another_backend_gets_the_value(
    flow: WorkflowEngine, native: ScriptedBackend, plain: ScriptedBackend
) -> None:
    task = flow.function_task(identity)
    assert await task.options(backend="plain")([task(7)]) == [7]
    assert (plain.submitted[0].args, plain.submitted[0].dependencies) == (([7],), ())
    assert native.fetched == {1: 1}


async def test_a_block_gets_the_value(flow: WorkflowEngine) -> None:
    @flow.block
    async def body(value: Any) -> Any:
        return value

    assert await body([flow.function_task(identity)(7)]) == [7]


async def test_the_body_of_an_executable_gets_the_value(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    first = flow.function_task(identity)(7)
    assert await flow.executable_task(lambda value: f"echo {value}")(first) == "echo 7"


async def test_the_output_of_an_executable_is_a_value_on_its_own_backend(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    first = flow.executable_task(lambda: "echo 7")()
    assert await flow.function_task(identity)(first) == "echo 7"
    assert native.submitted[1].args == ("echo 7",)


async def test_a_failure_fails_the_followers_with_its_cause(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    native.hold()
    task = flow.function_task(identity)
    first = flow.function_task(name="first")(identity)()
    second = task(first)
    third = task(second)
    await until(lambda: len(native.waiting()) == 3)
    cause = ValueError("as planned")
    native.fail("first", cause)
    for future in (second, third):
        with pytest.raises(DependencyFailureError) as caught:
            await future
        assert (caught.value.root, caught.value.__cause__) == ("first", cause)
    assert first.exception() is cause


async def test_the_followers_of_a_failure_are_withdrawn() -> None:
    native = ScriptedBackend(native_dependencies=True)
    async with WorkflowEngine.create(native) as flow:
        native.hold()
        first = flow.function_task(name="first")(identity)()
        second = flow.function_task(identity)(first)
        await until(lambda: len(native.waiting()) == 2)
        native.sink.failed(1, 1, ValueError())  # the backend says nothing of the second
        with pytest.raises(DependencyFailureError):
            await second
        assert (native.cancelled_ids, native.waiting()) == ([2], [1])
        assert first.exception() is not None


async def test_a_cancelled_task_takes_its_followers_along(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    native.hold()
    first = flow.function_task(identity)()
    second = flow.function_task(identity)(first)
    await until(lambda: len(native.waiting()) == 2)
    first.cancel()
    assert (first.cancelled(), second.cancelled(), native.waiting()) == (True, True, [])


async def test_a_task_that_may_be_retried_has_no_followers(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    native.hold()
    first = flow.function_task(name="first", retries=1)(identity)(7)
    second = flow.function_task(identity)(first)
    await until(native.waiting)
    await turns()
    assert native.waiting() == [1]
    native.release()
    assert await second == 7


async def test_a_future_that_is_put_in_late_fails_its_task_too(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    native.hold()
    values: list[Any] = []
    first = flow.function_task(name="first")(identity)()
    outer = flow.function_task(identity)(values)
    values.append(first)
    await until(lambda: len(native.waiting()) == 2)
    native.fail("first", ValueError())
    with pytest.raises(DependencyFailureError):
        await outer


class Lossy(RemoteValue):
    async def fetch(self) -> Any:
        raise OSError("the worker is gone")

    def release(self) -> None: ...


async def test_a_value_that_cannot_be_fetched_fails_who_wants_it(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    native.hold()
    task = flow.function_task(identity)
    first = task()
    second = task.options(backend="plain")([first])
    third = task.options(backend="plain")(first)
    await until(native.waiting)
    native.sink.done(1, 1, Lossy())
    for future in (second, third):
        with pytest.raises(DependencyFailureError) as caught:
            await future
        assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(OSError, match="the worker is gone"):
        await first
    assert first.state == "FAILED"


class Slow(RemoteValue):
    async def fetch(self) -> Any:
        await asyncio.get_running_loop().create_future()

    def release(self) -> None: ...


async def test_cancelling_a_fetch_cancels_who_needs_the_value(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    native.hold()
    first = flow.function_task(identity)()
    second = flow.function_task(backend="plain")(identity)(first)
    await until(native.waiting)
    native.sink.done(1, 1, Slow())
    await turns()
    assert first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert first.state == "CANCELLED"


async def test_a_shutdown_that_waits_for_tasks_waits_for_their_values(
    native: ScriptedBackend,
) -> None:
    flow = await WorkflowEngine.create(native)
    values: list[Any] = []
    future = flow.function_task(identity)(7)
    future.add_done_callback(lambda done: values.append(done.result()))
    await flow.shutdown(cancel=False)
    assert values == [7]


async def test_a_hundred_links_are_sent_before_the_first_has_run(
    flow: WorkflowEngine, native: ScriptedBackend
) -> None:
    native.hold()
    task = flow.function_task(identity)
    future: TaskFuture[Any] = task(7)
    for _ in range(99):
        future = task(future)
    await until(lambda: len(native.waiting()) == 100)
    native.release()
    assert await future == 7
    assert sum(native.batches) == 100
