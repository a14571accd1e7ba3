"""Blocks: coroutines in the engine's loop that call tasks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from radical.asyncflow import (
    DependencyFailureError,
    TaskExitError,
    TaskFuture,
    TaskTimeoutError,
    WorkflowEngine,
)
from radical.asyncflow.testing import ScriptedBackend

from .waiting import in_virtual_time, until


def identity(value: Any = None) -> Any:
    return value


async def test_a_block_calls_tasks(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)

    @flow.block
    async def body(value: int) -> int:
        return sum(await asyncio.gather(task(value), task(value + 1)))

    assert await body(3) == 7


async def test_a_block_gets_the_values_of_its_dependencies(flow: WorkflowEngine) -> None:
    @flow.block
    async def body(values: list[int]) -> int:
        return sum(values)

    assert await body([flow.function_task(identity)(3), 4]) == 7


async def test_a_block_is_a_dependency(flow: WorkflowEngine) -> None:
    @flow.block
    async def body() -> int:
        return 7

    assert await flow.function_task(identity)(body()) == 7


async def test_no_backend_sees_a_block(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    @flow.block
    async def body() -> None: ...

    future = body()
    await future
    assert (future.backend, backend.submitted) == (None, [])


async def test_a_block_runs_while_its_state_says_so(flow: WorkflowEngine) -> None:
    go = asyncio.Event()

    @flow.block
    async def body() -> None:
        await go.wait()

    future = body()
    assert future.state == "PENDING"
    await until(lambda: future.state == "RUNNING")
    go.set()
    await future
    assert (future.state, future.attempts) == ("DONE", 1)


async def test_blocks_nest(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)

    @flow.block
    async def inner(value: int) -> int:
        return 10 * int(await task(value))

    @flow.block
    async def outer() -> int:
        return await inner(1) + await inner(inner(2))

    assert await outer() == 210


async def test_the_members_are_cancelled_with_their_block(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    members: list[TaskFuture[Any]] = []

    @flow.block
    async def inner() -> None:
        members.append(flow.function_task(identity)())
        await members[0]

    @flow.block
    async def outer() -> None:
        members.extend([flow.function_task(identity)()])
        await inner()

    future = outer()
    await until(lambda: len(backend.waiting()) == 2)
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    assert all(member.cancelled() for member in members)


async def test_a_member_that_nobody_awaits_is_cancelled_with_a_failing_block(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    members: list[TaskFuture[Any]] = []

    @flow.block
    async def body() -> None:
        members.append(flow.function_task(identity)())
        await until(backend.waiting)
        raise ValueError("as planned")

    with pytest.raises(ValueError, match="as planned"):
        await body()
    await asyncio.wait(members)
    assert members[0].cancelled()


async def test_a_member_outlives_a_block_that_succeeds(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()

    @flow.block
    async def body() -> list[TaskFuture[int]]:
        return [flow.function_task(identity)(7)]

    (member,) = await body()
    backend.release()
    assert await member == 7


async def test_a_block_may_handle_the_failure_of_a_member(flow: WorkflowEngine) -> None:
    @flow.block
    async def body() -> str:
        try:
            await flow.function_task(lambda: 1 / 0)()
        except ZeroDivisionError:
            return "handled"
        return "not raised"

    assert await body() == "handled"


async def test_a_failing_block_fails_its_dependents(flow: WorkflowEngine) -> None:
    @flow.block
    async def body() -> None:
        await flow.function_task(lambda: 1 / 0)()

    with pytest.raises(DependencyFailureError) as caught:
        await flow.function_task(identity)(body())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_failed_block_is_tried_again(flow: WorkflowEngine) -> None:
    runs: list[int] = []

    @flow.block(retries=2)
    async def body() -> int:
        runs.append(1)
        if len(runs) < 3:
            raise ValueError
        return len(runs)

    future = body()
    assert (await future, future.attempts) == (3, 3)


def test_a_block_has_a_timeout() -> None:
    async def main() -> None:
        backend = ScriptedBackend()
        async with WorkflowEngine.create(backend) as flow:
            backend.hold()
            member: list[TaskFuture[Any]] = []

            @flow.block(timeout=3.0)
            async def body() -> None:
                member.append(flow.function_task(identity)())
                await member[0]

            with pytest.raises(TaskTimeoutError, match=r"'body' ran longer than .* 3 s"):
                await body()
            assert asyncio.get_running_loop().time() == pytest.approx(3.0)
            assert member[0].cancelled()

    in_virtual_time(main())


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit])
async def test_a_block_cannot_end_the_program(
    flow: WorkflowEngine, kind: type[BaseException]
) -> None:
    @flow.block
    async def body() -> None:
        raise kind("bye")

    with pytest.raises(TaskExitError) as caught:
        await body()
    assert isinstance(caught.value.__cause__, kind)


async def test_a_block_that_cancels_itself_is_cancelled(flow: WorkflowEngine) -> None:
    @flow.block
    async def body() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await body()


async def test_a_block_may_clean_up_when_it_is_cancelled(flow: WorkflowEngine) -> None:
    steps: list[str] = []

    @flow.block
    async def body() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned")

    future = body()
    await until(lambda: future.state == "RUNNING")
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    assert steps == ["cleaned"]


async def test_a_block_that_holds_the_loop_is_named_in_a_warning(
    flow: WorkflowEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr("radical.asyncflow._dispatch.blocks.perf_counter", lambda: now)

    @flow.block
    async def greedy() -> None:
        nonlocal now
        now += 1.1

    await greedy()
    assert "block 'greedy' held the event loop for 1.1 s" in caplog.text


async def test_a_block_that_waits_is_not_warned_of(
    flow: WorkflowEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr("radical.asyncflow._dispatch.blocks.perf_counter", lambda: now)

    @flow.block
    async def patient() -> None:
        def an_hour_later() -> None:
            nonlocal now
            now += 3600.0
            waiting.set_result(None)

        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        loop.call_soon(an_hour_later)
        await waiting

    await patient()
    assert now == 3600.0
    assert "held the event loop" not in caplog.text


async def test_a_plain_function_cannot_be_a_block(flow: WorkflowEngine) -> None:
    with pytest.raises(TypeError, match="write 'async def', or make it a function_task"):
        flow.block(identity)


async def test_a_block_cannot_shut_down_its_engine(flow: WorkflowEngine) -> None:
    @flow.block
    async def body() -> None:
        await flow.shutdown()

    with pytest.raises(RuntimeError, match="block 'body' cannot shut down the engine"):
        await body()


@pytest.mark.parametrize("uids", [("one", "two"), ("one", "one")])
async def test_engines_are_told_apart_by_what_they_are_and_not_by_their_uid(
    uids: tuple[str, str],
) -> None:
    backend = ScriptedBackend()
    backend.hold("number")
    async with (
        WorkflowEngine.create(ScriptedBackend(), uid=uids[0]) as one,
        WorkflowEngine.create(backend, uid=uids[1]) as other,
    ):
        foreign: list[Any] = []

        @one.block
        async def block() -> None:
            with one.workflow_scope("of one"):
                foreign.append(other.function_task(lambda: 1, name="number")())
            await asyncio.Event().wait()

        blocked = block()
        await until(lambda: backend.submitted)
        blocked.cancel()
        await asyncio.wait([blocked])
        assert foreign[0].workflow_id is None
        backend.release("number")
        assert await foreign[0] == 1


async def test_a_block_may_shut_down_another_engine_of_the_same_uid() -> None:
    async with WorkflowEngine.create(ScriptedBackend(), uid="one") as one:
        other = await WorkflowEngine.create(ScriptedBackend(), uid="one")

        @one.block
        async def block() -> None:
            await other.shutdown()

        await block()
        assert other.closed


async def test_nested_blocks_leave_no_asyncio_task(flow: WorkflowEngine) -> None:
    before = len(asyncio.all_tasks())

    @flow.block
    async def body(depth: int) -> int:
        return 1 + await body(depth - 1) if depth else 0

    assert await body(100) == 100
    assert len(asyncio.all_tasks()) == before
