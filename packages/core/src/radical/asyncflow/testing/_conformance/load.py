"""Checks: many tasks end, in whatever shape they depend on each other."""

from __future__ import annotations

import asyncio

from ...engine import WorkflowEngine
from .. import _functions as functions
from .needs import needs
from .suite import Suite


class Load(Suite):
    @needs("function", "executes")
    async def test_a_bag_of_many_tasks_is_done(self, flow: WorkflowEngine) -> None:
        value = flow.function_task(functions.identity)
        results = await asyncio.gather(*map(value, range(self.load)))
        assert results == list(range(self.load))

    @needs("function", "executes")
    async def test_a_bag_of_many_async_tasks_is_done(self, flow: WorkflowEngine) -> None:
        count = self.load // 10
        value = flow.function_task(functions.identity_async)
        assert await asyncio.gather(*map(value, range(count))) == list(range(count))

    @needs("function", "executes")
    async def test_a_long_chain_is_done(self, flow: WorkflowEngine) -> None:
        add = flow.function_task(functions.add)
        future = add(0, 0)
        for _ in range(self.load // 10):
            future = add(future, 1)
        assert await future == self.load // 10

    @needs("function", "executes")
    async def test_a_wide_fan_is_done(self, flow: WorkflowEngine) -> None:
        width = self.load // 10
        add = flow.function_task(functions.add)
        root = add(1, 0)
        total = flow.function_task(functions.total)
        assert await total([add(root, 1) for _ in range(width)]) == 2 * width

    @needs("function", "executes")
    async def test_waves_are_done_one_after_the_other(self, flow: WorkflowEngine) -> None:
        value = flow.function_task(functions.identity)
        for wave in range(20):
            assert await asyncio.gather(*(value(wave) for _ in range(20))) == [wave] * 20

    @needs("function", "executes")
    async def test_work_may_be_mapped_over_more_items_than_fit(self, flow: WorkflowEngine) -> None:
        count = self.load // 10
        value = flow.function_task(functions.identity)
        found = [item async for item in flow.map(value, range(count), limit=16)]
        assert found == list(range(count))

    @needs("markers", "function")
    async def test_a_dry_run_of_many_tasks_is_done(self, flow: WorkflowEngine) -> None:
        value = flow.function_task(functions.identity)
        results = await asyncio.gather(*map(value, range(self.load)))
        assert len(results) == self.load
