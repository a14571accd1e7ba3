"""flow.map: one task for each item, a bounded number at a time."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from radical.asyncflow import ConfigurationError, WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend

from .waiting import at_full_speed, turns, until


def double(number: int) -> int:
    return 2 * number


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


async def take(results: AsyncIterator[Any]) -> list[Any]:
    return [result async for result in results]


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
@pytest.mark.parametrize("ordered", [True, False])
async def test_every_item_has_its_result(flow: WorkflowEngine, limit: int, ordered: bool) -> None:
    task = flow.function_task(double)
    results = await take(flow.map(task, range(20), limit=limit, ordered=ordered))
    assert sorted(results) == [2 * number for number in range(20)]


async def test_results_come_in_the_order_of_the_items(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    taking = asyncio.create_task(take(flow.map(flow.function_task(double), range(3))))
    await until(lambda: len(backend.waiting()) == 3)
    for task_id in (3, 1, 2):
        backend.release(task_id)
        await turns()
    assert await taking == [0, 2, 4]


async def test_results_come_as_completed_where_that_is_wanted(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    taking = asyncio.create_task(
        take(flow.map(flow.function_task(double), range(3), ordered=False))
    )
    await until(lambda: len(backend.waiting()) == 3)
    for task_id in (3, 1, 2):
        backend.release(task_id)
        await turns()
    assert await taking == [4, 0, 2]


@pytest.mark.parametrize("ordered", [True, False])
async def test_items_may_come_from_an_asynchronous_iterator(
    flow: WorkflowEngine, ordered: bool
) -> None:
    task = flow.function_task(double)
    assert sorted(await take(flow.map(task, numbers(5), limit=2, ordered=ordered))) == [
        0,
        2,
        4,
        6,
        8,
    ]


async def test_no_items_are_no_results(flow: WorkflowEngine) -> None:
    assert await take(flow.map(flow.function_task(double), [])) == []


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_limit_bounds_what_is_alive_or_unread(
    flow: WorkflowEngine, backend: ScriptedBackend, ordered: bool
) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    read = 0
    async for _ in flow.map(flow.function_task(double), items(), limit=4, ordered=ordered):
        read += 1
        assert len(taken) - read <= 3
        await turns(3)
    assert (read, max(backend.batches)) == (50, 4)


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_early_end_cancels_what_is_alive(
    flow: WorkflowEngine, backend: ScriptedBackend, ordered: bool
) -> None:
    backend.hold()
    results = flow.map(flow.function_task(double), range(100), limit=5, ordered=ordered)
    first = asyncio.ensure_future(anext(results))
    await until(lambda: len(backend.waiting()) == 5)
    backend.release(1)
    assert await first == 0
    await results.aclose()  # type: ignore[attr-defined]
    assert sorted(backend.cancelled_ids) == [2, 3, 4, 5]


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_failure_is_raised_and_ends_the_rest(
    flow: WorkflowEngine, backend: ScriptedBackend, ordered: bool
) -> None:
    def inverse(number: int) -> float:
        return 1 / number

    backend.hold()
    taking = asyncio.create_task(
        take(flow.map(flow.function_task(inverse), [0, 1, 2], ordered=ordered))
    )
    await until(lambda: len(backend.waiting()) == 3)
    backend.release(1)
    with pytest.raises(ZeroDivisionError):
        await taking
    assert sorted(backend.cancelled_ids) == [2, 3]


async def test_an_iterator_that_raises_ends_the_map(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    backend.hold()
    with pytest.raises(OSError, match="no more"):
        await take(flow.map(flow.function_task(double), items()))
    await turns()
    assert backend.waiting() == []


async def test_an_early_end_closes_the_asynchronous_source(flow: WorkflowEngine) -> None:
    closed: list[bool] = []

    async def items() -> AsyncIterator[int]:
        try:
            for number in range(1000):
                yield number
        finally:
            closed.append(True)

    results = flow.map(flow.function_task(double), items(), limit=2)
    await anext(results)
    await results.aclose()  # type: ignore[attr-defined]
    assert closed == [True]


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_result_does_not_wait_for_items_that_are_not_there_yet(
    flow: WorkflowEngine, ordered: bool
) -> None:
    came = asyncio.Event()

    async def items() -> AsyncIterator[int]:
        yield 1
        await came.wait()  # set only once the first result was read
        yield 2

    results = []
    async with asyncio.timeout(20):
        async for result in flow.map(
            flow.function_task(double), items(), limit=10, ordered=ordered
        ):
            results.append(result)
            came.set()
    assert results == [2, 4]


async def test_a_stream_that_raises_ends_the_map_after_the_results_before_it(
    flow: WorkflowEngine,
) -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        raise OSError("no more")

    results = flow.map(flow.function_task(double), items())
    assert await anext(results) == 2
    with pytest.raises(OSError, match="no more"):
        await anext(results)


async def test_a_stream_that_never_waits_leaves_in_one_batch(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    async def items() -> AsyncIterator[int]:
        for number in range(100):
            yield number

    await take(flow.map(flow.function_task(double), items()))
    assert backend.batches == [100]


async def test_cancelling_the_reader_cancels_the_work(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    taking = asyncio.create_task(take(flow.map(flow.function_task(double), range(9), limit=3)))
    await until(lambda: len(backend.waiting()) == 3)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    await turns()
    assert sorted(backend.cancelled_ids) == [1, 2, 3]


@pytest.mark.parametrize("bad", [0, -1, True, 1.5, "3"])
async def test_the_limit_is_a_number_of_tasks(flow: WorkflowEngine, bad: Any) -> None:
    with pytest.raises(ConfigurationError, match="limit must be a whole number of at least 1"):
        flow.map(flow.function_task(double), [], limit=bad)


@pytest.mark.parametrize("ordered", [True, False])
def test_fifty_thousand_items_take_no_more_memory_than_five_thousand(ordered: bool) -> None:
    async def peak(count: int) -> int:
        async with WorkflowEngine.create("noop") as flow:
            task = flow.function_task(double)
            gc.collect()
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            async for _ in flow.map(task, range(count), limit=500, ordered=ordered):
                pass
            return tracemalloc.get_traced_memory()[1] - before

    async def main() -> tuple[int, int]:
        # The plan of a run stops growing at 20,000 tasks: let it have them first.
        await peak(1_000)
        return await peak(20_000), await peak(50_000)

    tracemalloc.start()
    try:
        fewer, more = at_full_speed(main())
    finally:
        tracemalloc.stop()
    assert more < fewer * 1.25 + 200_000
