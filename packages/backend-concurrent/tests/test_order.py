"""The order in which waiting tasks begin: by priority, by depth, and else as they came."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from asyncflow_backend_concurrent._slots.queue import TaskQueue, order_of, place_of
from radical.asyncflow import UnsupportedOptionError, WorkflowEngine
from radical.asyncflow.backend import Resources, TaskKind, TaskRequest, TaskSpec, TaskState
from radical.asyncflow.testing._functions import hold_blocking

SPECS = {
    priority: TaskSpec(f"p{priority}", TaskKind.FUNCTION, print, priority=priority)
    for priority in (-1, 0, 0.5, 2)
}


def request(task_id: int, priority: float = 0, depth: int = 0) -> TaskRequest:
    return TaskRequest(task_id, 1, SPECS[priority], depth=depth)


def fill(queue: TaskQueue, requests: Iterable[TaskRequest]) -> None:
    for each in requests:
        queue.extend(order_of(each), [each])


def drain(queue: TaskQueue) -> list[TaskRequest]:
    taken = []
    while queue:
        taken.append(queue.take())
    with pytest.raises(IndexError):
        queue.take()
    return taken


@pytest.mark.parametrize("seed", range(50))
def test_the_queue_gives_back_what_it_was_given_in_order(seed: int) -> None:
    rng = random.Random(seed)
    queue = TaskQueue()
    inside: list[TaskRequest] = []
    numbers = itertools.count(1)
    for _ in range(300):
        what = rng.random()
        if what < 0.5:
            each = request(next(numbers), rng.choice([0, 0, 0, *SPECS]), rng.choice([0, 0, 1, 9]))
            queue.put(each)
            inside.append(each)
        elif what < 0.55:
            row = [request(next(numbers)) for _ in range(3)]
            queue.extend(order_of(row[0]), row)
            inside += row
        elif inside:
            inside.sort(key=place_of)
            assert queue.head() is inside[0]
            taken = queue.take()
            assert taken is inside.pop(0)
            if what < 0.6:
                queue.put_back([taken])
                inside.insert(0, taken)
        assert len(queue) == len(inside)
        assert bool(queue) is bool(inside)
    assert drain(queue) == sorted(inside, key=place_of)


def test_what_is_put_back_comes_before_its_equals_only() -> None:
    queue = TaskQueue()
    fill(queue, [request(1), request(2), request(3, depth=1), request(4, depth=1)])
    taken = [queue.take() for _ in range(3)]
    queue.put_back(taken)
    assert [each.task_id for each in drain(queue)] == [3, 4, 1, 2]


def test_levels_that_were_used_once_are_not_kept() -> None:
    queue = TaskQueue()
    for depth in range(1, 1000):
        queue.put(request(depth, depth=depth))
        queue.take()
    assert len(queue._levels) < 20
    queue.put(request(1000))
    assert not queue.ordered
    assert len(queue._levels) == 1


def test_many_orders_at_once_are_kept_apart() -> None:
    queue = TaskQueue()
    requests = [request(number, depth=number % 100) for number in range(1, 1001)]
    random.Random(1).shuffle(requests)
    fill(queue, requests)
    assert [each.depth for each in drain(queue)] == sorted(
        (each.depth for each in requests), reverse=True
    )


def test_threads_lose_and_double_nothing() -> None:
    """Four threads put and take, with orders that come and go; every task is taken once."""
    queue = TaskQueue()
    taken: list[list[int]] = [[] for _ in range(4)]
    amount = 2000

    def work(which: int) -> None:
        rng = random.Random(which)
        numbers = iter(range(which * amount, (which + 1) * amount))
        left = amount
        while left or queue:
            if left and rng.random() < 0.6:
                each = request(next(numbers), rng.choice([0, 0, -1, 2]), rng.choice([0, 0, 1, 5]))
                queue.put(each)
                left -= 1
            else:
                try:
                    each = queue.take()
                except IndexError:
                    continue
                if rng.random() < 0.05:
                    queue.put_back([each])
                else:
                    taken[which].append(each.task_id)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    rest = [each.task_id for each in drain(queue)]
    assert sorted([*itertools.chain(*taken), *rest]) == list(range(4 * amount))


# ---------------------------------------------------------------------- the slots


def changed(request: TaskRequest, priority: float = 0, depth: int = 0) -> TaskRequest:
    spec = dataclasses.replace(request.spec, priority=priority)
    return request._replace(spec=spec, depth=depth)


@pytest.mark.parametrize("kind", ["thread", "process"])
async def test_what_waits_begins_in_order(start: Any, tmp_path: Path, kind: str) -> None:
    driver = await start(max_workers=1, executor_type=kind)
    busy = driver.function(hold_blocking, str(tmp_path))
    orders = [(0, 0), (0, 1), (-1, 5), (2, 0), (0, 0), (2, 3), (0.5, 0), (0, 1)]
    waiting = [changed(driver.function(int, 1), *each) for each in orders]
    driver.submit(busy)
    await driver.begun(busy)
    driver.submit(*waiting)
    (tmp_path / "gate").touch()
    await driver.sink.outcomes([busy, *waiting])
    ended = [report.task_id for report in driver.sink.reports if report.state is TaskState.DONE]
    assert ended[1:] == [each.task_id for each in sorted(waiting, key=place_of)]


async def test_commands_and_wide_tasks_have_their_places_in_the_order(
    start: Any, tmp_path: Path
) -> None:
    driver = await start(max_workers=2)
    busy = [driver.function(hold_blocking, str(tmp_path), number) for number in range(2)]
    ended: list[str] = []
    note = ended.append
    narrow = driver.function(note, "narrow")
    wide = changed(driver.function(note, "wide", resources=Resources(cores=2)), priority=1)
    wide_and_late = driver.function(note, "late", resources=Resources(cores=2))
    command = changed(driver.executable("true"), priority=2)
    driver.submit(*busy)
    await driver.begun(*busy)
    driver.submit(narrow, wide_and_late, wide, command)
    (tmp_path / "gate").touch()
    await driver.sink.outcomes([*busy, narrow, wide, wide_and_late, command])
    assert ended == ["wide", "narrow", "late"]
    begun = [report.task_id for report in driver.sink.reports if report.state is TaskState.RUNNING]
    assert begun.index(command.task_id) < begun.index(wide.task_id)


@pytest.mark.parametrize("kind", ["thread", "process"])
async def test_pairs_give_their_first_results_early(kind: str) -> None:
    """Retries let the engine send each second task when the first has ended."""
    config = {"max_workers": 2, "executor_type": kind}
    async with WorkflowEngine.create("concurrent", config) as flow:
        first = flow.function_task(int)
        second = flow.function_task(float, retries=1)
        roots = [first(number) for number in range(4000)]
        ends = [second(root) for root in roots]
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert done
        assert not all(root.done() for root in roots)
        await asyncio.gather(*ends)


async def test_an_executor_of_the_user_takes_no_priority() -> None:
    with ThreadPoolExecutor(1) as pool:
        backend = ConcurrentExecutionBackend(pool, shutdown_executor=False)
        async with await WorkflowEngine.create(backend) as flow:
            task = flow.function_task(int, priority=1)
            with pytest.raises(UnsupportedOptionError, match="takes no priority"):
                task(1)
            assert await task.options(priority=0)(1) == 1


async def test_async_functions_begin_in_order_in_their_loop(start: Any) -> None:
    driver = await start(max_workers=1, executor_type="async")
    gate = threading.Event()
    begun: list[float] = []

    async def busy() -> None:
        while not gate.is_set():  # noqa: ASYNC110 - it is set in another thread
            await asyncio.sleep(0.001)

    async def note(priority: float) -> None:
        begun.append(priority)

    first = driver.function(busy)
    waiting = [changed(driver.function(note, each), each) for each in (0, 1, -1, 0.5, 3)]
    gone = changed(driver.function(note, 9), 9)
    driver.submit(first)
    await driver.begun(first)
    driver.submit(*waiting, gone)
    driver.backend.cancel([gone.task_id])
    gate.set()
    await driver.sink.outcomes([first, *waiting, gone])
    assert begun == [3, 1, 0.5, 0, -1]


async def test_what_a_worker_has_ahead_makes_way_for_a_higher_priority(
    start: Any, tmp_path: Path
) -> None:
    driver = await start(max_workers=1, executor_type="process")
    gates = [tmp_path / name for name in ("busy", "plain")]
    for gate in gates:
        gate.mkdir()
    busy = driver.function(hold_blocking, str(gates[0]))
    plain = driver.function(hold_blocking, str(gates[1]), "plain")
    driver.submit(busy)
    await driver.begun(busy)
    driver.submit(plain)
    slots = driver.backend._slots
    async with asyncio.timeout(20):
        while not slots.ahead:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    urgent = changed(driver.function(int, 1), priority=1)
    driver.submit(urgent)
    (gates[0] / "gate").touch()
    await driver.sink.outcomes([urgent])  # while the gate of the other is closed
    assert driver.sink.outcome(plain) is None
    (gates[1] / "gate").touch()
    await driver.sink.outcomes([busy, plain])
