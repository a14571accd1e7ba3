"""The order in which tasks are sent, and the option ``priority`` at the call."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from radical.asyncflow import ConfigurationError, UnsupportedOptionError, WorkflowEngine
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
