"""Chains: tasks that are sent together with the only one that they wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from radical.asyncflow import DependencyFailureError, TaskFuture, WorkflowEngine
from radical.asyncflow.backend import TaskRef
from radical.asyncflow.errors import TaskTimeoutError
from radical.asyncflow.events import Event, TaskEvent
from radical.asyncflow.testing import ScriptedBackend

from .waiting import in_virtual_time, turns, until


def identity(value: Any = None, other: Any = None) -> Any:
    return value


@pytest.fixture
def chaining() -> ScriptedBackend:
    return ScriptedBackend(name="chaining", chains=True, resources=("cores",))


@pytest.fixture
async def flow(chaining: ScriptedBackend) -> AsyncIterator[WorkflowEngine]:
    engine = await WorkflowEngine.create([chaining, ScriptedBackend(name="plain")])
    yield engine
    await engine.shutdown()


async def sent(chaining: ScriptedBackend) -> list[int]:
    """Ids of what was sent, none of which has run."""
    await until(chaining.waiting)
    await turns()
    return chaining.waiting()


async def test_a_chain_is_sent_in_one_batch(
    flow: WorkflowEngine, chaining: ScriptedBackend
) -> None:
    chaining.hold()
    task = flow.function_task(identity)
    first = task(7)
    second = task(first)
    third = task(other=3, value=second)
    assert await sent(chaining) == [1, 2, 3]
    assert chaining.batches == [3]
    one, two, three = chaining.submitted
    assert (one.args, one.dependencies) == ((7,), ())
    assert (two.args, two.dependencies) == ((TaskRef(1),), (1,))
    assert (three.kwargs, three.dependencies) == ({"other": 3, "value": TaskRef(2)}, (2,))
    chaining.release()
    assert await third == 7


async def test_a_value_that_is_there_goes_along(
    flow: WorkflowEngine, chaining: ScriptedBackend
) -> None:
    task = flow.function_task(identity)
    early = task("early")
    await early
    chaining.hold()
    last = task(task("first"), early)
    await until(lambda: len(chaining.waiting()) == 2)
    assert chaining.submitted[-1].args == (TaskRef(2), "early")
    chaining.release()
    assert await last == "first"


async def test_a_dependent_among_others_is_not_sent_ahead(
    flow: WorkflowEngine, chaining: ScriptedBackend
) -> None:
    chaining.hold()
    task = flow.function_task(identity)
    first = task(1)
    task(first), task(first)
    assert await sent(chaining) == [1]


async def test_a_task_that_waits_for_more_is_not_sent_ahead(
    flow: WorkflowEngine, chaining: ScriptedBackend
) -> None:
    chaining.hold()
    task = flow.function_task(identity)
    task(task(1), task(2))
    assert await sent(chaining) == [1, 2]


async def test_one_future_twice_among_the_arguments_is_not_sent_ahead(
    flow: WorkflowEngine, chaining: ScriptedBackend
) -> None:
    chaining.hold()
    task = flow.function_task(identity)
    first = task(1)
    task(first, first)
    assert await sent(chaining) == [1]


async def test_a_future_inside_of_a_container_is_not_sent_ahead(
    flow: WorkflowEngine, chaining: ScriptedBackend
) -> None:
    chaining.hold()
    task = flow.function_task(identity)
    task([task(1)])
    assert await sent(chaining) == [1]


@pytest.mark.parametrize("options", [{"backend": "plain"}, {"resources": {"cores": 2}}])
async def test_a_task_of_another_kind_is_not_sent_ahead(
    flow: WorkflowEngine, chaining: ScriptedBackend, options: Any
) -> None:
    chaining.hold()
    task = flow.function_task(identity)
    task.options(**options)(task(1))
    assert await sent(chaining) == [1]


@pytest.mark.parametrize("options", [{"retries": 1}, {"resources": {"cores": 2}}])
async def test_nothing_is_sent_behind_a_task_that_may_be_retried_or_asks_for_more(
    flow: WorkflowEngine, chaining: ScriptedBackend, options: Any
) -> None:
    chaining.hold()
    task = flow.function_task(identity)
    task(task.options(**options)(1))
    assert await sent(chaining) == [1]


async def test_the_last_of_a_chain_may_be_retried(
    flow: WorkflowEngine, chaining: ScriptedBackend
) -> None:
    chaining.hold()
    task = flow.function_task(identity)
    last = flow.function_task(name="last", retries=1)(identity)(task(7))
    assert await sent(chaining) == [1, 2]
    chaining.finish(1, 7)
    chaining.fail("last", ValueError())
    await until(lambda: len(chaining.submitted) == 3)
    assert (chaining.submitted[-1].args, chaining.submitted[-1].dependencies) == ((7,), ())
    chaining.release()
    assert await last == 7
    assert last.attempts == 2


async def test_a_failure_fails_the_chain_with_its_cause(
    flow: WorkflowEngine, chaining: ScriptedBackend
) -> None:
    chaining.hold()
    task = flow.function_task(identity)
    first = flow.function_task(name="first")(identity)()
    second = task(first)
    third = task(second)
    assert await sent(chaining) == [1, 2, 3]
    cause = ValueError("as planned")
    chaining.fail("first", cause)
    for future in (second, third):
        with pytest.raises(DependencyFailureError) as caught:
            await future
        assert (caught.value.root, caught.value.__cause__) == ("first", cause)
    assert first.exception() is cause


async def test_what_is_behind_a_failure_is_withdrawn() -> None:
    chaining = ScriptedBackend(chains=True)
    async with WorkflowEngine.create(chaining) as flow:
        chaining.hold()
        task = flow.function_task(identity)
        first = flow.function_task(name="first")(identity)()
        third = task(task(first))
        assert await sent(chaining) == [1, 2, 3]
        chaining.sink.failed(1, 1, ValueError())  # the backend says nothing of the others
        with pytest.raises(DependencyFailureError):
            await third
        assert (chaining.cancelled_ids, chaining.waiting()) == ([2, 3], [1])
        assert first.exception() is not None


async def test_a_cancel_in_the_middle_takes_the_rest_along(
    flow: WorkflowEngine, chaining: ScriptedBackend
) -> None:
    chaining.hold()
    task = flow.function_task(identity)
    first = task(7)
    second = task(first)
    third = task(second)
    assert await sent(chaining) == [1, 2, 3]
    second.cancel()
    assert (second.cancelled(), third.cancelled(), chaining.waiting()) == (True, True, [1])
    chaining.release()
    assert await first == 7


def test_a_timeout_counts_from_the_start_of_its_own_link(chaining: ScriptedBackend) -> None:
    async def main() -> float:
        async with WorkflowEngine.create(chaining) as flow:
            chaining.hold()
            first = flow.function_task(identity)(7)
            second = flow.function_task(name="second", timeout=2.0)(identity)(first)
            assert await sent(chaining) == [1, 2]
            chaining.start_task(1)
            await asyncio.sleep(50.0)
            assert (first.state, second.state) == ("RUNNING", "PENDING")
            chaining.finish(1, 7)
            chaining.start_task("second")
            with pytest.raises(TaskTimeoutError):
                await second
            return asyncio.get_running_loop().time()

    assert in_virtual_time(main()) == 52.0


async def test_a_dependent_that_is_called_later_goes_by_the_loop(
    flow: WorkflowEngine, chaining: ScriptedBackend
) -> None:
    chaining.hold()
    task = flow.function_task(identity)
    first = task(7)
    second = task(first)
    assert await sent(chaining) == [1, 2]
    third = task(first)
    fourth = task(second)
    await turns()
    assert chaining.waiting() == [1, 2]
    chaining.release()
    assert (await third, await fourth) == (7, 7)
    assert [request.args for request in chaining.submitted[2:]] == [(7,), (7,)]


async def test_a_chain_longer_than_a_batch_arrives_whole(flow: WorkflowEngine) -> None:
    task = flow.function_task(lambda value: value + 1)
    last: TaskFuture[int] = task(0)
    for _ in range(4_999):
        last = task(last)
    assert await last == 5_000


async def test_events_tell_the_same_of_a_link_as_of_any_task(
    flow: WorkflowEngine, chaining: ScriptedBackend
) -> None:
    seen: list[tuple[int, str]] = []

    def note(events: Sequence[Event]) -> None:
        tasks = [event for event in events if isinstance(event, TaskEvent)]
        seen.extend((event.task_id, event.state.name) for event in tasks)

    flow.observe(note)
    task = flow.function_task(identity)
    await task(task(7))
    for number in (1, 2):
        mine = [state for task_id, state in seen if task_id == number]
        assert mine == ["PENDING", "READY", "SUBMITTED", "RUNNING", "DONE"]
    assert seen.index((1, "DONE")) < seen.index((2, "RUNNING"))


async def test_a_journal_has_each_result_before_anything_counts_on_it(tmp_path: Any) -> None:
    chaining = ScriptedBackend(chains=True)
    async with WorkflowEngine.create(chaining, journal=tmp_path / "run.journal") as flow:
        task = flow.function_task(identity)
        assert await task(task(7)) == 7
    assert [request.dependencies for request in chaining.submitted] == [(), ()]


# ------------------------------------------------------------ a quick backend


async def test_an_awaited_task_is_sent_before_its_caller_waits() -> None:
    quick = ScriptedBackend(quick=True, chains=True)
    async with WorkflowEngine.create(quick) as flow:
        task = flow.function_task(identity)
        future = task(task(7))
        assert quick.submitted == []
        waiting = future.__await__()
        assert quick.batches == [2]
        next(waiting)
        await until(future.done)
        waiting.close()


async def test_of_many_who_wait_all_but_the_first_go_in_one_batch() -> None:
    quick = ScriptedBackend(quick=True)
    async with WorkflowEngine.create(quick) as flow:
        task = flow.function_task(identity)

        async def one(number: int) -> Any:
            return await task(number)

        assert await asyncio.gather(*[one(number) for number in range(50)]) == list(range(50))
        assert quick.batches == [1, 49]


async def test_a_backend_that_is_not_quick_gets_one_batch_a_turn() -> None:
    slow = ScriptedBackend()
    async with WorkflowEngine.create(slow) as flow:
        task = flow.function_task(identity)

        async def one(number: int) -> Any:
            return await task(number)

        await asyncio.gather(*[one(number) for number in range(50)])
        assert slow.batches == [50]


async def test_a_task_that_is_cancelled_before_anybody_waits_is_not_sent() -> None:
    quick = ScriptedBackend(quick=True)
    async with WorkflowEngine.create(quick) as flow:
        future = flow.function_task(identity)(7)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        await turns()
        assert quick.submitted == []
