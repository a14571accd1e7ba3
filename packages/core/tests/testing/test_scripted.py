"""The scripted backend does what its script says, and tells what was asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import TaskKind
from radical.asyncflow.errors import BackendError, BackendLostError
from radical.asyncflow.testing import ScriptedBackend
from radical.asyncflow.testing._functions import add, identity, identity_async


@pytest.fixture
async def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
async def flow(backend: ScriptedBackend) -> AsyncIterator[WorkflowEngine]:
    async with WorkflowEngine.create(backend) as flow:
        yield flow
        await flow.shutdown()


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_held_tasks_end_in_the_order_of_the_script(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    first, second = flow.function_task(identity)(1), flow.function_task(identity)(2)
    await _turns()
    assert backend.waiting() == [1, 2]
    backend.finish(second, "two")
    assert await second == "two"
    assert first.state == "PENDING"
    backend.finish(first, "one")
    assert await first == "one"


async def test_a_task_can_be_held_by_name_before_it_is_called(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold("slow")
    slow = flow.function_task(name="slow")(identity)("slow")
    fast = flow.function_task(name="fast")(identity)("fast")
    assert await fast == "fast"
    assert not slow.done()
    backend.release("slow")
    assert await slow == "slow"


async def test_releasing_all_runs_what_was_held(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    futures = [flow.function_task(identity_async)(at) for at in range(3)]
    await _turns()
    backend.release()
    assert await asyncio.gather(*futures) == [0, 1, 2]


async def test_a_task_led_by_hand_is_running_until_it_is_failed(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    future = flow.function_task(name="led")(identity)()
    await _turns()
    backend.start_task("led", worker="w1")
    await _turns()
    assert future.state == "RUNNING"
    assert backend.running() == [future._number]
    backend.fail("led", ValueError("as written"))
    with pytest.raises(ValueError, match="as written"):
        await future


async def test_it_records_batches_and_cancels(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    task = flow.function_task(identity)
    futures = [task(at) for at in range(3)]
    await _turns()
    futures[1].cancel()
    assert [request.args for request in backend.submitted] == [(0,), (1,), (2,)]
    assert backend.batches == [3]
    assert backend.cancelled_ids == [2]


async def test_a_task_that_is_not_there_is_named_with_those_that_are(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    flow.function_task(name="here")(identity)()
    await _turns()
    with pytest.raises(LookupError, match=r"'gone' \(there are: here \(1\)\)"):
        backend.finish("gone")


async def test_a_cancel_of_spared_work_waits_for_the_script() -> None:
    backend = ScriptedBackend(kills_running=())
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.function_task(identity)()
        await _turns()
        backend.start_task(future)
        future.cancel()
        await _turns()
        assert backend.running() == [future._number]
        backend.confirm_cancel(future)
        assert backend.running() == []


async def test_an_old_attempt_may_end_after_the_next_has_begun() -> None:
    backend = ScriptedBackend(kills_running=())
    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.function_task(retries=1, timeout=0.01)(identity)()
        async with asyncio.timeout(10):
            while len(backend.submitted) < 2:
                if backend.waiting():
                    backend.start_task(future)
                await asyncio.sleep(0.005)
        backend.finish(future, "of the first attempt, dropped")
        backend.finish(future, "of the second")
        assert await future == "of the second"


async def test_a_command_and_a_prompt_answer_with_their_own_text() -> None:
    backend = ScriptedBackend(kinds={TaskKind.EXECUTABLE, TaskKind.PROMPT})
    async with WorkflowEngine.create(backend) as flow:
        assert await flow.executable_task(identity)(["echo", "a b"]) == "echo 'a b'"
        assert await flow.prompt_task(identity)("Why?") == "Why?"


async def test_fetches_of_remote_values_are_counted() -> None:
    backend = ScriptedBackend(remote_results=True, native_dependencies=True)
    async with WorkflowEngine.create(backend) as flow:
        first = flow.function_task(add)(1, 1)
        second = flow.function_task(add)(first, 40)
        assert await second == 42
        assert backend.fetched == {2: 1}
        assert await first == 2
        assert backend.fetched == {1: 1, 2: 1}


async def test_a_lost_backend_fails_what_it_holds(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    future = flow.function_task(identity)()
    await _turns()
    backend.lose()
    with pytest.raises(BackendLostError, match="by its script"):
        await future


async def test_it_cannot_be_started_twice(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    assert flow.backend is backend
    with pytest.raises(BackendError, match="started already"):
        await backend.start(backend.sink)
