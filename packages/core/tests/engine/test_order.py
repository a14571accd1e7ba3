"""The order in which tasks are sent, and the option ``priority`` at the call."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from radical.asyncflow import ConfigurationError, UnsupportedOptionError, WorkflowEngine
from radical.asyncflow._dispatch import dispatcher
from radical.asyncflow.testing import ScriptedBackend


@pytest.mark.parametrize(
    "value", ["high", None, True, math.nan, math.inf, -math.inf, 10**400, 1j, [1]]
)
async def test_a_priority_that_is_no_number_is_refused(flow: WorkflowEngine, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="priority must be a number such as 1"):
        flow.function_task(print, priority=value)
    with pytest.raises(ConfigurationError, match="priority must be a number such as 1"):
        flow.function_task(print).options(priority=value)


async def test_a_block_takes_no_priority(flow: WorkflowEngine) -> None:
    async def body() -> None:
        pass

    with pytest.raises(ConfigurationError, match="give it to the tasks that the block calls"):
        flow.block(priority=1)(body)
    await flow.block(priority=0)(body)()


async def test_a_backend_without_priorities_refuses_them_at_the_call() -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        task = flow.function_task(int)
        with pytest.raises(UnsupportedOptionError, match="so it takes no priority"):
            task.options(priority=-1)(1)
        assert await task.options(priority=0)(1) == 1


async def test_calls_of_a_turn_begin_by_priority_and_then_as_they_came() -> None:
    backend = ScriptedBackend(priorities=True)
    async with WorkflowEngine.create(backend) as flow:
        begun: list[Any] = []
        task = flow.function_task(begun.append)
        low = [task.options(priority=-1)(f"low {at}") for at in range(2)]
        plain = [task(f"plain {at}") for at in range(2)]
        high = [task.options(priority=0.5)(f"high {at}") for at in range(2)]
        await asyncio.gather(*low, *plain, *high)
        assert begun == ["high 0", "high 1", "plain 0", "plain 1", "low 0", "low 1"]


async def test_a_new_attempt_has_the_priority_of_the_first() -> None:
    backend = ScriptedBackend(priorities=True)
    async with WorkflowEngine.create(backend) as flow:
        begun: list[str] = []

        def once() -> None:
            begun.append("urgent")
            if begun.count("urgent") == 1:
                raise ValueError

        plain = [flow.function_task(begun.append)("plain") for _ in range(5)]
        urgent = flow.function_task(once, priority=2, retries=1)()
        await asyncio.gather(urgent, *plain)
        assert begun == ["urgent", "urgent", *["plain"] * 5]


@pytest.mark.parametrize("native", [False, True])
async def test_pairs_are_finished_one_after_the_other(native: bool) -> None:
    backend = ScriptedBackend(priorities=True, native_dependencies=native)
    async with WorkflowEngine.create(backend) as flow:
        begun: list[str] = []
        first = flow.function_task(lambda at: begun.append(f"a{at}") or at)
        second = flow.function_task(lambda at: begun.append(f"b{at}"))
        await asyncio.gather(*[second(root) for root in [first(at) for at in range(3)]])
        assert begun == ["a0", "b0", "a1", "b1", "a2", "b2"]


async def test_a_graph_that_a_backend_orders_comes_with_each_task_behind_what_it_needs() -> None:
    backend = ScriptedBackend(native_dependencies=True)
    async with WorkflowEngine.create(backend) as flow:
        same = flow.function_task(lambda value: value)
        await asyncio.gather(*[same(root) for root in [same(at) for at in range(3)]])
        assert [request.task_id for request in backend.submitted] == [1, 4, 2, 5, 3, 6]
        assert [request.depth for request in backend.submitted] == [0, 1] * 3


async def test_an_urgent_call_goes_before_many_that_were_not_sent_yet() -> None:
    backend = ScriptedBackend(priorities=True)
    async with WorkflowEngine.create(backend) as flow:
        task = flow.function_task(int)
        plain = [task(at) for at in range(3000)]
        urgent = task.options(priority=1)(0)
        await asyncio.gather(urgent, *plain)
        assert backend.submitted[0].task_id == 3001


@pytest.mark.parametrize("kind", ["executable", "prompt"])
async def test_bodies_run_before_what_was_called_later_is_sent(
    flow: WorkflowEngine, backend: ScriptedBackend, kind: str
) -> None:
    seen: list[tuple[str, list[str]]] = []

    def body(name: str) -> str:
        seen.append((name, [request.spec.name for request in backend.submitted]))
        return name

    ask = getattr(flow, f"{kind}_task")(body)
    function = flow.function_task(int)
    calls = [function.options(name="early")(1)]
    for at in range(3):
        calls += [ask(f"{at}"), function.options(name=f"late {at}")(1)]
    await asyncio.gather(*calls)
    assert seen == [("0", ["early"]), ("1", ["early"]), ("2", ["early"])]
    assert backend.batches == [1, 6]


async def test_a_body_that_waits_holds_nothing_up(flow: WorkflowEngine) -> None:
    gate = asyncio.Event()

    async def body() -> str:
        await gate.wait()
        return "true"

    command = flow.executable_task(body)()
    assert await flow.function_task(int)("7") == 7
    assert not command.done()
    gate.set()
    await command


async def test_many_bodies_hold_up_nothing_of_the_turn_before(
    flow: WorkflowEngine, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "STEPS_A_TURN", 20)
    backend_had: list[int] = []

    def body() -> str:
        backend_had.append(len(backend.submitted))
        return "true"

    command = flow.executable_task(body)
    await asyncio.gather(*[command() for _ in range(70)])
    # What one turn of the loop prepared is sent before the bodies of the next begin.
    assert backend_had == sorted(backend_had)
    assert (backend_had[0], backend_had[20], backend_had[40]) == (0, 20, 40)


async def test_what_waits_for_a_body_can_be_cancelled(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    ran: list[str] = []
    later: list[Any] = []

    def body() -> str:
        later[1].cancel()
        return "true"

    command = flow.executable_task(body)()
    function = flow.function_task(ran.append)
    later += [function(name) for name in ("first", "second", "third")]
    later.append(function(later[1]))
    await asyncio.gather(command, *later, return_exceptions=True)
    assert ran == ["first", "third"]
    assert [future.cancelled() for future in later] == [False, True, False, True]
    assert len(backend.submitted) == 3


async def test_all_that_waits_for_a_body_can_be_cancelled(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    later: list[Any] = []

    def body() -> str:
        for future in later:
            future.cancel()
        return "true"

    command = flow.executable_task(body)()
    later.append(flow.function_task(int)("7"))
    await command
    assert later[0].cancelled()
    assert [request.spec.name for request in backend.submitted] == ["body"]


async def test_a_service_stops_after_the_calls_before_it_whatever_waits_for_a_body() -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def add(self) -> int:
            self.count += 1
            return self.count

    async with WorkflowEngine.create("concurrent", {"max_workers": 2}) as flow:
        counter = await flow.service(Counter)()
        command = flow.executable_task(lambda: "true")()
        calls = [counter.add() for _ in range(3)]
        stopped = counter.stop()
        assert await asyncio.gather(*calls) == [1, 2, 3]
        await asyncio.gather(command, stopped)
