"""What a task waits for, asked of the engine while tests decide what the backend does."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from radical.asyncflow import ConfigurationError, Resources, RetryPolicy, WorkflowEngine
from radical.asyncflow.backend import TaskKind, Wait, WaitKind
from radical.asyncflow.model import Waiting
from radical.asyncflow.testing import ScriptedBackend

pytestmark = pytest.mark.asyncio


class Telling(ScriptedBackend):
    """A backend that holds everything, and says what the test gives it to say."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.told: Mapping[int, Any] | Exception = {}
        self.takes_its_time = False
        self.hold()

    def cancel(self, task_ids: Collection[int]) -> None:
        if not self.takes_its_time:
            super().cancel(task_ids)

    def waits(self, task_ids: Collection[int]) -> Mapping[int, Wait]:
        if isinstance(self.told, Exception):
            raise self.told
        return {number: wait for number, wait in self.told.items() if number in task_ids}


@asynccontextmanager
async def flow_on(backend: Telling) -> AsyncIterator[WorkflowEngine]:
    """Give an engine, and let all tasks end with the test."""
    async with WorkflowEngine.create(backend) as flow:
        yield flow
        for number in backend.running():
            backend.finish(number)
        backend.release()


def kinds(answer: Waiting) -> list[WaitKind]:
    return [reason.kind for reason in answer.reasons]


async def test_a_task_waits_for_inputs_that_are_followed_to_their_causes() -> None:
    backend = Telling()
    async with flow_on(backend) as flow:

        @flow.function_task
        def simulate(number: int) -> int:
            return number

        @flow.function_task
        def merge(*numbers: Any) -> int:
            return len(numbers)

        parts = [simulate(number) for number in range(5)]
        merged = merge([parts], parts[0], {"more": parts[1]})
        last = merge(merged)
        await asyncio.sleep(0)
        backend.start_task(1)
        backend.start_task(2)
        backend.finish(2)
        backend.told = {
            number: Wait(kind=WaitKind.SLOT, text="a slot", holders=[1], held_by=1, ahead=number)
            for number in (3, 4, 5)
        }
        answer = flow.why(last)
        assert answer
        assert kinds(answer) == [WaitKind.DEPENDENCY]
        assert (answer.reasons[0].held_by, answer.reasons[0].of) == (1, 1)
        assert answer.between == 1
        runs, waits = answer.causes
        assert (runs.reason.kind, runs.count, runs.tasks[0].id) == (
            WaitKind.RUNNING,
            1,
            "task.000001",
        )
        assert (waits.reason.kind, waits.count) == (WaitKind.SLOT, 3)
        assert waits.reason.ahead is None  # it differs among the three
        assert str(answer) == (
            "task.000007 'merge' waits for task.000006 'merge', through 1 task between:\n"
            "  task.000001 'simulate' runs\n"
            "  task.000003 'simulate', task.000004 'simulate' and task.000005 'simulate' wait for "
            "a slot (task.000001 'simulate')"
        )
        direct = flow.why(merged)
        assert (direct.reasons[0].held_by, direct.reasons[0].of, direct.between) == (4, 5, 0)
        assert str(direct).startswith("task.000006 'merge' waits for 4 of its 5 inputs:\n")
        assert str(flow.why(parts[3])) == (
            "task.000004 'simulate' waits for a slot (task.000001 'simulate'); 4 tasks begin "
            "before it"
        )
        assert not flow.why(parts[0])
        assert str(flow.why(parts[0])) == "task.000001 'simulate' runs; it waits for nothing"
        assert str(flow.why(parts[1])) == "task.000002 'simulate' is DONE"
        everything = flow.why()
        assert everything.task is None
        assert [(cause.reason.kind, cause.count) for cause in everything.causes] == [
            (WaitKind.RUNNING, 1),
            (WaitKind.SLOT, 3),
            (WaitKind.DEPENDENCY, 2),
        ]
        assert str(everything).startswith("5 tasks of this run wait\n")
        for asked in (answer, everything):
            assert json.loads(json.dumps(asked.as_dict()))["waits"]
            assert pickle.loads(pickle.dumps(asked)) == asked
        assert repr(answer).startswith("<Waiting: task.000007 'merge' waits for")


async def test_a_task_is_named_by_its_future_its_id_or_its_number() -> None:
    backend = Telling()
    async with flow_on(backend) as flow, flow_on(Telling()) as other:

        @flow.function_task
        def work() -> None: ...

        future, foreign = work(), other.function_task(len)([])
        await asyncio.sleep(0)
        assert str(flow.why("task.000001")) == str(flow.why(1)) == str(flow.why(future))
        for wrong, said in (
            (2, "there is no task 2: 1 were called so far"),
            ("task.000002", "there is no task task.000002"),
            ("work", "'work' is no task: give the future of a call, or an id"),
            (True, "True is no task"),
            (1.5, "1.5 is no task"),
            (foreign, "is a task of another engine"),
        ):
            with pytest.raises(ConfigurationError, match=said):
                flow.why(wrong)
        with pytest.raises(RuntimeError, match="outside of the thread"):
            await asyncio.to_thread(flow.why, future)
        backend.start_task(1)
        backend.finish(1)
        await future
        assert str(flow.why(1)) == "task.000001 has ended"


async def test_a_backend_that_says_nothing_or_breaks_is_named() -> None:
    backend = Telling()
    async with flow_on(backend) as flow:
        future = flow.function_task(len)([])
        assert kinds(flow.why(future)) == [WaitKind.ENGINE]
        await asyncio.sleep(0)
        for told in ({}, {1: "what is no Wait"}, ValueError("broken")):
            backend.told = told
            answer = flow.why(future)
            assert kinds(answer) == [WaitKind.UNKNOWN]
            assert repr(backend.name) in answer.reasons[0].text


async def test_a_retry_says_what_failed_and_when_the_next_attempt_comes() -> None:
    backend = Telling()
    async with flow_on(backend) as flow:
        task = flow.function_task(len, retries=RetryPolicy(attempts=5, wait=60, jitter=0))
        future = task([])
        await asyncio.sleep(0)
        backend.start_task(1)
        backend.fail(1, ValueError("no luck\nin the second line"))
        await asyncio.sleep(0)
        (reason,) = flow.why(future).reasons
        assert reason.kind is WaitKind.RETRY
        assert reason.text == "its next attempt: attempt 1 of 5 failed with ValueError: no luck"
        assert reason.seconds is not None
        assert 0 < reason.seconds <= 60
        future.cancel()


async def test_awaitables_blocks_services_and_cancellations_are_told() -> None:
    backend = Telling(kinds=[TaskKind.FUNCTION, TaskKind.EXECUTABLE], service=True)
    async with flow_on(backend) as flow:

        @flow.function_task
        def work(*_: Any) -> None: ...

        @flow.block
        async def block() -> None:
            await asyncio.gather(work(), work())

        @flow.executable_task(service=True, ready_port=4321)
        async def server() -> str:
            return "serve"

        outside: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waits, whole, service = work(outside), block(), server()
        needs = work(service)
        for _ in range(5):
            await asyncio.sleep(0)
        assert kinds(flow.why(waits)) == [WaitKind.AWAITABLE]
        of_block = flow.why(whole)
        assert str(of_block).startswith(f"{whole.id} 'block' waits for 2 tasks that it called:\n")
        assert of_block.causes[0].count == 2
        backend.start_task(service._number)
        of_service = flow.why(needs)
        assert [cause.reason.kind for cause in of_service.causes] == [WaitKind.SERVICE]
        assert "port 4321" in str(of_service)
        outside.set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        backend.start_task(waits._number)
        assert not flow.why(waits)
        backend.takes_its_time = True
        waits.cancel()
        (reason,) = flow.why(waits).reasons
        assert (reason.kind, reason.text) == (
            WaitKind.ENGINE,
            "the end of its work, because it was cancelled",
        )
        backend.confirm_cancel(waits._number)


async def test_nothing_is_kept_until_somebody_asks() -> None:
    backend = Telling()
    async with flow_on(backend) as flow:
        future = flow.function_task(len, resources=Resources())([])
        await asyncio.sleep(0)
        assert future._extras is None
        flow.why()
        assert future._extras is None
