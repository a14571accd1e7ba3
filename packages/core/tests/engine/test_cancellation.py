"""Cancelling: a task, the scope that awaits it, and what depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from radical.asyncflow import TaskTimeoutError, WorkflowEngine
from radical.asyncflow.backend import TaskId, TaskKind
from radical.asyncflow.testing import ScriptedBackend
from radical.asyncflow.testing._calls import calls

from .waiting import at_full_speed, in_virtual_time, turns, until


def identity(value: Any = None) -> Any:
    return value


class Stubborn(ScriptedBackend):
    """Has ended none of its work when `cancel` returns, and says so only when told to."""

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        self.cancelled_ids.extend(task_ids)


class Immediate(ScriptedBackend):
    """Ends what it has as soon as it is told to, at no cost."""

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        for task_id in task_ids:
            self.sink.cancelled(task_id, 1)


class Raising(ScriptedBackend):
    def cancel(self, task_ids: Collection[TaskId]) -> None:  # noqa: ARG002
        raise OSError("cannot cancel anything")


async def test_a_task_that_was_not_sent_ends_at_once(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    future = flow.function_task(identity)()
    assert future.cancel("enough")
    assert future.cancelled()
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await future
    assert backend.submitted == []


async def test_a_task_in_the_backends_queue_ends_at_once(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    future = flow.function_task(identity)()
    await until(backend.waiting)
    future.cancel()
    assert (future.state, future.cancelled(), backend.cancelled_ids) == ("CANCELLED", True, [1])


async def test_a_running_task_ends_when_its_work_has() -> None:
    backend = Stubborn()
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.function_task(identity)()
        await until(backend.waiting)
        backend.start_task("identity")
        assert future.cancel()
        await turns()
        assert not future.done()
        backend.confirm_cancel("identity")
        with pytest.raises(asyncio.CancelledError):
            await future


async def test_where_work_cannot_be_stopped_the_future_ends_at_once() -> None:
    backend = ScriptedBackend(kills_running=())
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.function_task(identity)()
        await until(backend.waiting)
        backend.start_task("identity")
        future.cancel()
        assert future.cancelled()
        backend.finish("identity", 7)


async def test_a_done_task_cannot_be_cancelled(flow: WorkflowEngine) -> None:
    future = flow.function_task(identity)(7)
    await future
    assert not future.cancel()
    assert future.result() == 7


async def test_cancelling_twice_tells_the_backend_once() -> None:
    backend = Stubborn()
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.function_task(identity)()
        await until(backend.waiting)
        future.cancel()
        future.cancel()
        assert backend.cancelled_ids == [1]
        backend.confirm_cancel("identity")


async def test_dependents_are_cancelled_too(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)
    first = task()
    second = task([first])
    third = task(second)
    first.cancel()
    assert second.cancelled()
    assert third.cancelled()


async def test_a_dependency_is_not_cancelled_with_its_dependent(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)
    first = task(7)
    task(first).cancel()
    assert await first == 7


async def test_cancelling_the_awaiting_task_cancels_the_work(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    future = flow.function_task(identity)()

    async def wait() -> None:
        await future

    waiter = asyncio.create_task(wait())
    await until(backend.waiting)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert future.cancelled()
    assert backend.cancelled_ids == [1]


async def test_a_timeout_around_a_task_ends_the_work(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    future = flow.function_task(identity)()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await future
    assert future.cancelled()
    assert backend.cancelled_ids == [1]


async def test_wait_for_ends_the_work(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    backend.hold()
    future = flow.function_task(identity)()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(future, 0.02)
    assert future.cancelled()
    assert backend.cancelled_ids == [1]


async def test_a_shielded_task_goes_on(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    backend.hold()
    future = flow.function_task(identity)(7)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(future), 0.02)
    backend.release()
    assert await future == 7


async def test_a_failing_task_group_cancels_the_work(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold("identity")
    future = flow.function_task(identity)()

    async def wait(awaitable: Any) -> None:
        await awaitable

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait(future))
            group.create_task(wait(flow.function_task(lambda: 1 / 0)()))

    with pytest.raises(ExceptionGroup):
        await both()
    assert future.cancelled()


async def test_cancelling_a_gather_cancels_the_work(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    futures = [flow.function_task(identity)() for _ in range(3)]
    together = asyncio.gather(*futures)
    await until(backend.waiting)
    together.cancel()
    with pytest.raises(asyncio.CancelledError):
        await together
    assert all(future.cancelled() for future in futures)


async def test_a_result_in_the_inbox_does_not_swallow_the_scopes_cancellation(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    future = flow.function_task(identity)()
    went_on = False

    async def wait() -> None:
        nonlocal went_on
        await future
        went_on = True

    waiter = asyncio.create_task(wait())
    await until(backend.waiting)
    backend.finish("identity", 7)  # reported, and not yet seen by the engine
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert (went_on, future.result()) == (False, 7)


async def test_work_that_finished_while_it_was_cancelled_stays_cancelled() -> None:
    backend = Stubborn()
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.function_task(identity)()
        await until(backend.waiting)
        future.cancel()
        backend.finish("identity", 7)
        with pytest.raises(asyncio.CancelledError):
            await future


async def test_a_cancel_that_raises_does_not_keep_the_future(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Raising()
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.function_task(identity)()
        await until(backend.waiting)
        future.cancel()
        assert future.cancelled()
        backend.release()
    assert "raised in cancel()" in caplog.text


def test_a_backend_that_never_ends_the_work_does_not_keep_the_future(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> float:
        backend = Stubborn()
        async with WorkflowEngine.create(backend) as flow:
            backend.hold()
            future = flow.function_task(identity)()
            await until(backend.waiting)
            future.cancel()
            began = asyncio.get_running_loop().time()
            await asyncio.wait([future])
            backend.release()
            return asyncio.get_running_loop().time() - began

    assert in_virtual_time(main()) == 30.0
    assert "did not end the work" in caplog.text


def test_a_cancel_during_a_timeout_is_the_last_word() -> None:
    async def main() -> None:
        backend = Stubborn()
        async with WorkflowEngine.create(backend) as flow:
            backend.hold()
            future = flow.function_task(timeout=1.0, retries=5)(identity)()
            await until(backend.waiting)
            backend.start_task("identity")
            await asyncio.sleep(1.5)
            assert backend.cancelled_ids == [1]
            assert future.cancel("enough")
            backend.confirm_cancel("identity")
            with pytest.raises(asyncio.CancelledError, match="enough"):
                await future
            assert len(backend.submitted) == 1

    in_virtual_time(main())


def test_a_cancel_during_the_wait_before_a_retry_ends_the_task() -> None:
    async def main() -> None:
        from radical.asyncflow import RetryPolicy

        backend = ScriptedBackend()
        async with WorkflowEngine.create(backend) as flow:
            policy = RetryPolicy(attempts=3, wait=10.0)
            future = flow.function_task(retries=policy)(lambda: 1 / 0)()
            await asyncio.sleep(5.0)
            future.cancel()
            assert (future.cancelled(), future.attempts) == (True, 1)
            await asyncio.sleep(60.0)
            assert len(backend.submitted) == 1

    in_virtual_time(main())


async def test_the_backends_own_cancellation_cancels_the_future(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    future = flow.function_task(identity)()
    await until(backend.waiting)
    backend.confirm_cancel("identity")
    with pytest.raises(asyncio.CancelledError):
        await future


async def test_only_the_backend_that_has_the_task_is_told() -> None:
    one, two = ScriptedBackend(name="one"), ScriptedBackend(name="two")
    async with WorkflowEngine.create([one, two]) as flow:
        one.hold()
        two.hold()
        future = flow.function_task(backend="two")(identity)()
        await until(two.waiting)
        future.cancel()
        assert (one.cancelled_ids, two.cancelled_ids) == ([], [1])


async def cost_of_cancels(number: int) -> int:
    """What it takes to cancel so many tasks that a backend has, in calls."""
    backend = Immediate()
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        futures = [flow.function_task(identity)() for _ in range(number)]
        await until(lambda: len(backend.waiting()) == number)
        cost = calls(lambda: [future.cancel() for future in futures])
        assert all(future.cancelled() for future in futures)
        return cost


def test_the_cost_of_cancels_follows_their_number() -> None:
    fewer, more = (at_full_speed(cost_of_cancels(number)) for number in (5_000, 10_000))
    assert more < 2.2 * fewer  # four times as much if each looks at all the others


def test_a_timed_out_task_raises_task_timeout_error() -> None:
    async def main() -> None:
        backend = ScriptedBackend()
        async with WorkflowEngine.create(backend) as flow:

            async def forever() -> None:
                await asyncio.get_running_loop().create_future()

            began = asyncio.get_running_loop().time()
            future = flow.function_task(timeout=2.5)(forever)()
            with pytest.raises(TaskTimeoutError, match=r"'forever' ran longer .* 2\.5 s"):
                await future
            assert asyncio.get_running_loop().time() - began == 2.5
            assert (backend.cancelled_ids, future.state) == ([1], "FAILED")

    in_virtual_time(main())


def test_a_timeout_counts_from_the_start_of_the_run() -> None:
    async def main() -> None:
        backend = ScriptedBackend()
        async with WorkflowEngine.create(backend) as flow:
            backend.hold()
            future = flow.function_task(timeout=1.0)(identity)(7)
            await asyncio.sleep(50.0)
            backend.release()
            assert await future == 7

    in_virtual_time(main())


def test_each_attempt_has_the_whole_timeout() -> None:
    async def main() -> None:
        async with WorkflowEngine.create(ScriptedBackend()) as flow:

            async def forever() -> None:
                await asyncio.get_running_loop().create_future()

            began = asyncio.get_running_loop().time()
            future = flow.function_task(timeout=2.0, retries=2)(forever)()
            with pytest.raises(TaskTimeoutError):
                await future
            assert (asyncio.get_running_loop().time() - began, future.attempts) == (6.0, 3)

    in_virtual_time(main())


def test_the_kinds_of_the_scripted_backend_are_as_assumed() -> None:
    assert ScriptedBackend().capabilities.kills_running == {TaskKind.FUNCTION}
