"""Futures as arguments: where they may stand, and whose they may be."""

from __future__ import annotations

import asyncio
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
from radical.asyncflow import CycleError, DependencyFailureError, TaskFuture, WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend

from .waiting import at_full_speed, turns, until

Pair = namedtuple("Pair", "left right")


def identity(value: Any = None) -> Any:
    return value


@pytest.mark.parametrize(
    "wrap",
    [
        lambda it: it,
        lambda it: [it],
        lambda it: (1, it),
        lambda it: {"key": it},
        lambda it: {it: "value"},
        lambda it: {it, 5},
        lambda it: frozenset([it]),
        lambda it: Pair(it, 2),
        lambda it: [{"deep": (it, [it])}],
    ],
)
async def test_a_future_may_stand_anywhere(
    flow: WorkflowEngine, wrap: Callable[[Any], Any]
) -> None:
    task = flow.function_task(identity)
    assert await task(wrap(task(7))) == wrap(7)


async def test_a_future_may_be_a_keyword(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)
    assert await task(value=task(value=7)) == 7


async def test_an_argument_without_futures_is_the_very_object(flow: WorkflowEngine) -> None:
    value = [{"a": [1]}]
    assert await flow.function_task(identity)(value) is value


async def test_a_future_put_in_after_the_call_is_waited_for(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold("late")
    task = flow.function_task(identity)
    values: list[Any] = []
    outer = task(values)
    values.append(task.options(name="late")(7))
    await until(backend.waiting)
    assert outer.state == "PENDING"
    backend.release("late")
    assert await outer == [7]


async def test_the_own_future_put_in_late_is_a_cycle(flow: WorkflowEngine) -> None:
    values: list[Any] = []
    future = flow.function_task(identity)(values)
    values.append(future)
    with pytest.raises(CycleError, match="'identity' has its own future among its arguments"):
        await future


async def test_two_that_wait_for_each_other_are_a_cycle(flow: WorkflowEngine) -> None:
    values: list[Any] = []
    task = flow.function_task(identity)
    first = task.options(name="first")(values)
    second = task.options(name="second")(first)
    values.append(second)
    with pytest.raises(CycleError, match="'first', which 'second' waits for"):
        await first
    with pytest.raises(DependencyFailureError):
        await second


async def test_a_foreign_future_is_awaited(flow: WorkflowEngine) -> None:
    foreign: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future = flow.function_task(identity)([foreign])
    await turns()
    assert future.state == "PENDING"
    foreign.set_result(7)
    assert await future == [7]


async def test_a_foreign_coroutine_is_run_once(flow: WorkflowEngine) -> None:
    runs = []

    async def seven() -> int:
        runs.append(1)
        return 7

    coroutine = seven()
    assert await flow.function_task(identity)([coroutine, {"again": coroutine}]) == [
        7,
        {"again": 7},
    ]
    assert runs == [1]


async def test_any_awaitable_is_awaited(flow: WorkflowEngine) -> None:
    class Seven:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return 7

    assert await flow.function_task(identity)(Seven()) == 7


async def test_a_foreign_failure_fails_the_task_with_its_cause(flow: WorkflowEngine) -> None:
    cause = ValueError("foreign")

    async def bad() -> int:
        raise cause

    foreign = asyncio.create_task(bad(), name="the foreign one")
    with pytest.raises(DependencyFailureError, match="the foreign one") as caught:
        await flow.function_task(identity)(foreign)
    assert caught.value.__cause__ is cause


async def test_a_foreign_cancellation_cancels_the_task(flow: WorkflowEngine) -> None:
    foreign: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future = flow.function_task(identity)(foreign)
    foreign.cancel()
    with pytest.raises(asyncio.CancelledError, match="an awaitable among the arguments"):
        await future


async def test_cancelling_a_task_leaves_the_foreign_future_alone(flow: WorkflowEngine) -> None:
    foreign: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future = flow.function_task(identity)(foreign)
    future.cancel()
    await turns()
    assert future.cancelled()
    assert not foreign.done()


async def test_a_future_of_another_loop_is_refused_at_the_call(flow: WorkflowEngine) -> None:
    other = asyncio.new_event_loop()
    foreign = other.create_future()
    try:
        with pytest.raises(TypeError, match="belongs to another event loop"):
            flow.function_task(identity)([foreign])
    finally:
        other.close()


async def test_a_future_of_another_engine_is_a_dependency(flow: WorkflowEngine) -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as other:
        theirs = other.function_task(identity)(7)
        assert await flow.function_task(identity)([theirs]) == [7]


async def test_a_failure_in_another_engine_is_a_dependency_failure(flow: WorkflowEngine) -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as other:
        theirs = other.function_task(lambda: 1 / 0)()
        with pytest.raises(DependencyFailureError) as caught:
            await flow.function_task(identity)(theirs)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_result_that_cannot_stand_in_a_set_fails_the_task_alone(
    flow: WorkflowEngine,
) -> None:
    task = flow.function_task(identity)
    with pytest.raises(TypeError, match="unhashable"):
        await task({task([1])})
    assert await task(2) == 2


async def test_a_finished_future_is_a_value(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)
    done = task(7)
    await done
    assert await task([done, done]) == [7, 7]


async def test_one_batch_carries_all_calls_of_a_turn(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    task = flow.function_task(identity)
    await asyncio.gather(*map(task, range(50)))
    assert backend.batches == [50]


def test_a_chain_of_a_hundred_thousand_links_completes() -> None:
    async def main() -> str:
        async with WorkflowEngine.create("noop") as flow:
            task = flow.function_task(identity)
            future: TaskFuture[Any] = task(0)
            for _ in range(100_000):
                future = task(future)
            await future
            return future.state

    assert at_full_speed(main()) == "DONE"
