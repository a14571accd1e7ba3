"""What a long run leaves behind: nothing for a finished task that nobody holds."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend

WARM_UP = 25_000
"""Tasks after which a run's plan, which remembers 20,000, has stopped growing."""


def identity(value: Any = None, _: Any = None) -> Any:
    return value


def broken() -> None:
    raise ValueError("as planned")


async def bag(flow: WorkflowEngine, count: int) -> None:
    task = flow.function_task(identity)
    for start in range(0, count, 1000):
        await asyncio.gather(*[task(number) for number in range(start, start + 1000)])


async def layers(flow: WorkflowEngine, count: int) -> None:
    task = flow.function_task(identity)
    for _ in range(0, count, 1000):
        futures = [task(0) for _ in range(100)]
        for _ in range(9):
            futures = [task(0, [future]) for future in futures]
        await asyncio.gather(*futures)


async def failures(flow: WorkflowEngine, count: int) -> None:
    bad, task = flow.function_task(broken), flow.function_task(identity)
    for _ in range(0, count, 1000):
        roots = [bad() for _ in range(500)]
        heirs = [task(root) for root in roots]
        await asyncio.wait(heirs)
        assert all(heir.exception() for heir in heirs)


async def cancellations(flow: WorkflowEngine, count: int) -> None:
    task = flow.function_task(identity)
    for _ in range(0, count, 1000):
        futures = [task() for _ in range(1000)]
        for future in futures:
            future.cancel()
        await asyncio.wait(futures)


async def retained(work: Any, count: int) -> float:
    """Bytes that are left of each task after *count* of them."""
    backend = Forgetful()
    async with WorkflowEngine.create(backend) as flow:
        await work(flow, WARM_UP)
        gc.collect()
        gc.freeze()  # what the test run itself holds need not be looked at again
        tracemalloc.start()
        try:
            await work(flow, count)
            gc.collect()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.unfreeze()
    return kept / count


class Forgetful(ScriptedBackend):
    """Does not write down what it was asked."""

    def submit(self, batch: Any) -> None:
        super().submit(batch)
        self.submitted.clear()
        self.batches.clear()
        self.cancelled_ids.clear()


def measure(work: Any, count: int) -> float:
    return asyncio.run(retained(work, count), debug=False)


@pytest.mark.parametrize("work", [bag, layers, failures, cancellations])
def test_fifty_thousand_finished_tasks_leave_under_ten_bytes_each(work: Any) -> None:
    assert measure(work, 50_000) < 10


def test_a_pending_task_takes_at_most_a_kilobyte() -> None:
    async def main() -> float:
        backend = Forgetful()
        async with WorkflowEngine.create(backend) as flow:
            await bag(flow, WARM_UP)
            backend.hold("first")
            task = flow.function_task(identity)
            first = flow.function_task(name="first")(identity)()
            gc.collect()
            tracemalloc.start()
            try:
                futures = [task(first) for _ in range(20_000)]
                kept, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            first.cancel()
            assert all(future.cancelled() for future in futures)
            return kept / len(futures)

    assert asyncio.run(main(), debug=False) < 1024


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("work", [bag, layers])
def test_a_million_finished_tasks_leave_under_ten_bytes_each(work: Any) -> None:
    assert measure(work, 1_000_000) < 10
