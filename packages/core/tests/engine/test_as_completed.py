"""flow.as_completed: futures as their tasks end, and more of them meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from radical.asyncflow import AsCompleted, ConfigurationError, TaskFuture, WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend

from .waiting import turns, until


def double(number: int) -> int:
    return 2 * number


def inverse(number: int) -> float:
    return 1 / number


async def take(futures: AsCompleted[Any]) -> list[Any]:
    return [future async for future in futures]


async def test_futures_come_in_the_order_in_which_their_tasks_end(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    futures = [flow.function_task(double)(number) for number in range(3)]
    taking = asyncio.create_task(take(flow.as_completed(futures)))
    await until(lambda: len(backend.waiting()) == 3)
    for task_id in (3, 1, 2):
        backend.release(task_id)
        await turns()
    assert await taking == [futures[2], futures[0], futures[1]]
    assert [future.result() for future in futures] == [0, 2, 4]


async def test_a_dict_gives_pairs(flow: WorkflowEngine) -> None:
    task = flow.function_task(double)
    came = await take(flow.as_completed({task(number): f"item {number}" for number in range(5)}))
    assert {key: future.result() for future, key in came} == {
        f"item {number}": 2 * number for number in range(5)
    }


async def test_a_search_adds_a_task_for_each_that_ends(flow: WorkflowEngine) -> None:
    task = flow.function_task(double)
    search: AsCompleted[tuple[TaskFuture[int], int]]
    search = flow.as_completed({task(number): number for number in (1, 2)})
    seen = []
    async for future, number in search:
        seen.append((number, await future))
        if number < 20:
            search.add(task(number + 2), number + 2)
    assert sorted(seen) == [(number, 2 * number) for number in range(1, 22)]


async def test_a_future_that_is_added_while_another_is_waited_for_comes(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    task = flow.function_task(double)
    search = flow.as_completed([task(1)])
    first = asyncio.ensure_future(anext(search))
    await until(lambda: backend.waiting() == [1])
    later = task(2)
    search.add(later)
    await until(lambda: backend.waiting() == [1, 2])
    backend.release(2)
    assert await first is later
    backend.release(1)
    assert [future.result() async for future in search] == [2]


async def test_a_failed_one_and_a_cancelled_one_come_as_all_others(flow: WorkflowEngine) -> None:
    task = flow.function_task(inverse)
    failed, cancelled = task(0), task(1)
    cancelled.cancel()
    came = await take(flow.as_completed([failed, cancelled]))
    assert set(came) == {failed, cancelled}
    assert isinstance(failed.exception(), ZeroDivisionError)
    assert cancelled.cancelled()


async def test_a_future_that_is_given_twice_comes_once_until_it_came(flow: WorkflowEngine) -> None:
    future = flow.function_task(double)(1)
    search = flow.as_completed([future, future])
    search.add(future)
    assert len(search) == 1
    assert await take(search) == [future]
    search.add(future)
    assert await take(search) == [future]


async def test_two_keys_of_one_future_are_refused(flow: WorkflowEngine) -> None:
    future = flow.function_task(double)(1)
    search = flow.as_completed({future: "first"})
    with pytest.raises(ConfigurationError, match="waits already, with the key 'first'"):
        search.add(future, "second")
    assert await take(search) == [(future, "first")]


async def test_one_is_counted_until_it_came(flow: WorkflowEngine) -> None:
    search = flow.as_completed([flow.function_task(double)(number) for number in range(3)])
    assert [len(search) async for _ in search] == [2, 1, 0]
    assert await take(flow.as_completed()) == []


async def test_several_share_one_iterator(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    backend.hold()
    futures = [flow.function_task(double)(number) for number in range(3)]
    search = flow.as_completed(futures)
    takers = [asyncio.create_task(take(search)) for _ in range(4)]
    await until(lambda: len(backend.waiting()) == 3)
    for task_id in (1, 2, 3):
        backend.release(task_id)
        await turns()
    came = [future for taken in await asyncio.gather(*takers) for future in taken]
    assert sorted(came, key=lambda future: future.id) == futures


async def test_who_stops_to_wait_loses_nothing(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    future = flow.function_task(double)(1)
    search = flow.as_completed([future])
    waiting = asyncio.ensure_future(anext(search))
    await until(lambda: backend.waiting() == [1])
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not future.done()
    backend.release(1)
    assert await take(search) == [future]


async def test_a_timeout_ends_the_wait_and_no_task(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    task = flow.function_task(double)
    ended = task(1)
    await ended
    backend.hold()
    slow = [task(number) for number in range(5)]
    search = flow.as_completed([*slow, ended], timeout=0)
    assert await anext(search) is ended
    with pytest.raises(TimeoutError) as caught:
        await anext(search)
    said = str(caught.value)
    assert "5 unfinished after 0 s: <TaskFuture task.000002 'double'" in said
    assert said.count("<TaskFuture") == 3
    assert "and 2 more" in said
    assert not any(future.done() for future in slow)
    for future in slow:
        future.cancel()
    assert len(await take(search)) == 5


async def test_a_timeout_that_is_long_enough_is_not_seen(flow: WorkflowEngine) -> None:
    futures = [flow.function_task(double)(number) for number in range(3)]
    assert len(await take(flow.as_completed(futures, timeout=600))) == 3


@pytest.mark.parametrize("timeout", [-1, "5", True, float("nan")])
async def test_a_timeout_is_a_number_of_seconds(flow: WorkflowEngine, timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be seconds"):
        flow.as_completed([], timeout=timeout)


async def test_what_is_no_future_of_the_engine_is_refused(flow: WorkflowEngine) -> None:
    task = flow.function_task(double)
    strange: Any
    with pytest.raises(TypeError, match="a task that was not called"):
        flow.as_completed([task])  # type: ignore[arg-type]
    for strange in (1, "text", asyncio.get_running_loop().create_future()):
        with pytest.raises(TypeError, match="futures of tasks of this engine, not"):
            flow.as_completed([strange])
    future = task(1)
    for strange, message in (
        (future, r"as_completed\(\[future\]\)"),
        (5, "a list of futures or a dict"),
        ("ab", "a list of futures or a dict"),
    ):
        with pytest.raises(TypeError, match=message):
            flow.as_completed(strange)
    async with WorkflowEngine.create(ScriptedBackend(name="other")) as other:
        with pytest.raises(TypeError, match="of another engine"):
            other.as_completed([future])
    await future


async def test_keys_are_for_an_iterator_that_was_made_from_a_dict(flow: WorkflowEngine) -> None:
    future = flow.function_task(double)(1)
    with pytest.raises(TypeError, match="made without keys"):
        flow.as_completed([]).add(future, "key")
    with pytest.raises(TypeError, match="a key is missing"):
        flow.as_completed({}).add(future)
    search: AsCompleted[Any] = flow.as_completed({})
    search.add(future, None)
    assert await take(search) == [(future, None)]


async def test_a_shutdown_ends_the_wait(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    backend.hold()
    future = flow.function_task(double)(1)
    taking = asyncio.create_task(take(flow.as_completed([future])))
    await until(lambda: backend.waiting() == [1])
    await flow.shutdown()
    assert await taking == [future]
    assert future.cancelled()
