"""Chains on threads: a slot goes on with the next member, and nothing else suffers by it."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import random
import threading
import time
import weakref
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from radical.asyncflow import DependencyFailureError, TaskFuture, WorkflowEngine
from radical.asyncflow.backend import Resources, TaskRef, TaskRequest, TaskState

DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED


def behind(driver: Any, first: TaskRequest, *bodies: Callable[[Any], Any]) -> list[TaskRequest]:
    """*first* and a member for each of *bodies*, which is called with the value before it."""
    chain = [first]
    for body in bodies:
        number = chain[-1].task_id
        member = driver.function(body, TaskRef(number))
        chain.append(member._replace(dependencies=(number,), depth=len(chain)))
    return chain


def with_priority(request: TaskRequest, priority: float) -> TaskRequest:
    return request._replace(spec=dataclasses.replace(request.spec, priority=priority))


def left(driver: Any) -> list[Any]:
    """What the slots still hold of any task."""
    slots = driver.backend._slots
    return [*slots.waiting, *slots.behind, *slots.values, *slots.queue]


async def gone(reference: weakref.ref[Any]) -> None:
    """Return when nobody holds the object any more."""
    async with asyncio.timeout(20):
        while reference() is not None:
            gc.collect()
            await asyncio.sleep(0.001)


class Thing:
    """An object that can be watched."""


async def test_a_chain_needs_no_turn_of_the_loop(start: Any) -> None:
    driver = await start(max_workers=2)
    threads: list[str] = []
    ended = threading.Event()

    def member(value: int) -> int:
        threads.append(threading.current_thread().name)
        if value == 98:
            ended.set()
        return value + 1

    chain = behind(driver, driver.function(member, 0), *[member] * 98)
    driver.submit(*chain)
    assert ended.wait(20)  # the loop stands still meanwhile
    reports = await driver.sink.outcomes(chain)
    assert [report.value for report in reports] == list(range(1, 100))
    assert len(set(threads)) == 1


@pytest.mark.parametrize("kind", ["thread", "process"])
async def test_fields_that_a_later_contract_adds_are_ignored(start: Any, kind: str) -> None:
    later: Any = namedtuple("later", [*TaskRequest._fields, "more"])
    driver = await start(executor_type=kind)
    chain = behind(driver, driver.function(int, 1), *[float] * 3)
    reports = await driver.run(*(later(*request, "more") for request in chain))
    assert [report.value for report in reports] == [1, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (lambda other: other, ["second", "third", "other"]),
        (lambda other: other._replace(depth=2), ["other", "second", "third"]),
        (lambda other: other._replace(depth=1), ["second", "third", "other"]),
        (lambda other: with_priority(other, 0.5), ["other", "second", "third"]),
        (lambda other: with_priority(other, -0.5), ["second", "third", "other"]),
    ],
    ids=["plain", "deeper", "equal", "higher", "lower"],
)
async def test_only_what_goes_first_comes_between_two_members(
    start: Any, before: Callable[[TaskRequest], TaskRequest], expected: list[str]
) -> None:
    driver = await start(max_workers=1)
    gate = threading.Event()
    order: list[str] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *_: order.append(name)

    first = driver.function(gate.wait)
    chain = behind(driver, first, note("second"), note("third"))
    other = before(driver.function(note("other")))
    driver.submit(*chain)
    await driver.begun(first)
    driver.submit(other)
    gate.set()
    await driver.sink.outcomes([*chain, other])
    assert order == expected
    assert left(driver) == []


async def test_a_member_that_went_into_the_queue_can_be_cancelled_there(start: Any) -> None:
    driver = await start(max_workers=1)
    gates = threading.Event(), threading.Event()
    first = driver.function(gates[0].wait)
    chain = behind(driver, first, print, print)
    other = with_priority(driver.function(gates[1].wait), 1)
    driver.submit(*chain)
    await driver.begun(first)
    driver.submit(other)
    gates[0].set()
    await driver.begun(other)
    driver.backend.cancel([chain[1].task_id])
    reports = await driver.sink.outcomes(chain)
    assert [report.state for report in reports] == [DONE, CANCELLED, CANCELLED]
    gates[1].set()
    await driver.sink.outcomes([other])
    assert left(driver) == []


async def test_a_cancelled_member_lets_go_of_its_arguments_at_once(start: Any) -> None:
    driver = await start()
    gate = threading.Event()
    thing = Thing()
    watch = weakref.ref(thing)
    first = driver.function(gate.wait)
    member = driver.function(lambda *_: None, TaskRef(first.task_id), thing)
    member = member._replace(dependencies=(first.task_id,))
    del thing
    # Not by the sink, which remembers every request.
    driver.sink._expected[member.task_id, 1] = member._replace(args=())
    driver.sink.expect([first])
    driver.backend.submit([first, member])
    number = member.task_id
    del member
    await driver.begun(first)
    assert watch() is not None
    driver.backend.cancel([number])
    await gone(watch)
    gate.set()
    await driver.sink.outcomes([first])
    assert left(driver) == []


async def test_a_value_is_let_go_when_its_member_is_done(start: Any) -> None:
    driver = await start(max_workers=1)
    tell = driver.sink.done
    # The sink remembers every value that it hears of.
    driver.sink.done = lambda task_id, attempt, _: tell(task_id, attempt, None)
    watches: list[weakref.ref[Thing]] = []
    gate = threading.Event()

    def make() -> Thing:
        thing = Thing()
        watches.append(weakref.ref(thing))
        return thing

    chain = behind(driver, driver.function(make), lambda _: 1, lambda _: gate.wait(20))
    driver.submit(*chain)
    await driver.begun(chain[2])
    await gone(watches[0])
    gate.set()
    reports = await driver.sink.outcomes(chain)
    assert [report.state for report in reports] == [DONE] * 3
    assert left(driver) == []


async def test_a_wide_task_gets_the_slots_of_a_chain(start: Any) -> None:
    driver = await start(max_workers=2)
    gate = threading.Event()
    order: list[str] = []
    wide = driver.function(lambda: order.append("wide"), resources=Resources(cores=2))
    wide = with_priority(wide, 1)
    first = driver.function(gate.wait)
    members = [lambda _: order.append("member")] * 5
    chain = behind(driver, first, *members)
    driver.submit(*chain)
    await driver.begun(first)
    driver.submit(wide)
    gate.set()
    await driver.sink.outcomes([*chain, wide])
    assert sorted(order) == ["member"] * 5 + ["wide"]
    assert order.index("wide") == 0
    assert left(driver) == []


async def test_a_shutdown_that_cancels_ends_a_chain_behind_its_first_member(start: Any) -> None:
    driver = await start()
    gate = threading.Event()
    ran: list[Any] = []
    first = driver.function(gate.wait)
    chain = behind(driver, first, ran.append, ran.append)
    driver.submit(*chain)
    await driver.begun(first)
    closing = asyncio.create_task(driver.backend.shutdown())
    reports = await driver.sink.outcomes(chain[1:])
    gate.set()
    await closing
    assert [report.state for report in reports] == [CANCELLED, CANCELLED]
    assert ran == []
    assert left(driver) == []


async def test_a_shutdown_that_waits_finishes_the_chain_and_lets_idle_slots_go(
    start: Any,
) -> None:
    driver = await start(max_workers=2)
    gates = threading.Event(), threading.Event()
    chain = behind(driver, driver.function(gates[0].wait), lambda _: "second", lambda _: "third")
    other = driver.function(gates[1].wait)
    driver.submit(*chain, other)
    await driver.begun(chain[0], other)
    gates[1].set()
    await driver.sink.outcomes([other])
    closing = asyncio.create_task(driver.backend.shutdown(cancel=False))
    slots = driver.backend._slots
    async with asyncio.timeout(20):
        while sum(slot.thread.is_alive() for slot in slots._slots) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    gates[0].set()
    await closing
    reports = await driver.sink.outcomes(chain)
    assert [report.value for report in reports] == [True, "second", "third"]


async def test_a_long_member_does_not_hold_back_the_result_before_it() -> None:
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}) as flow:
        gate = threading.Event()
        first = flow.function_task(lambda: 7)()
        second = flow.function_task(lambda _: gate.wait(20))(first)
        assert await first == 7
        assert second.state in ("PENDING", "RUNNING")
        gate.set()
        assert await second is True


# ------------------------------------------------------------ against serial evaluation


class PlannedError(Exception):
    """A failure that the random graph asked for."""


def work(number: int, fails: bool, *values: int) -> int:
    if number % 7 == 0:
        time.sleep(0.0005)
    if fails:
        raise PlannedError(number)
    return (number + sum(values)) % 1_000_003


async def work_async(number: int, fails: bool, *values: int) -> int:
    await asyncio.sleep(0)
    return work(number, fails, *values)


def nested(number: int, fails: bool, values: dict[str, list[int]]) -> int:
    return work(number, fails, *values["in"])


@pytest.mark.parametrize("seed", range(12))
async def test_random_graphs_come_to_what_they_come_to_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    async with WorkflowEngine.create("concurrent", {"max_workers": rng.randint(1, 4)}) as flow:
        plain = flow.function_task(work)
        tasks = [plain] * 4 + [
            flow.function_task(work_async),
            plain.options(retries=1),
            plain.options(timeout=60),
            plain.options(resources={"cores": 1, "memory": 1}),
        ]
        wrapped = flow.function_task(nested)
        futures: list[TaskFuture[Any]] = []
        expected: list[int | None] = []  # None: it fails, or one that it needs does
        for number in range(rng.randint(50, 300)):
            recent = range(max(0, number - rng.choice([1, 1, 1, 3, 50])), number)
            needs = rng.sample(recent, min(len(recent), rng.choice([0, 1, 1, 1, 1, 2, 3])))
            fails = rng.random() < 0.02
            inputs = [expected[need] for need in needs]
            bad = fails or None in inputs
            expected.append(None if bad else work(number, False, *filter(None, inputs)))
            given = [futures[need] for need in needs]
            if rng.random() < 0.1:
                future: TaskFuture[Any] = wrapped(number, fails, {"in": given})
            else:
                future = rng.choice(tasks)(number, fails, *given)
            futures.append(future)
            if rng.random() < 0.05:
                await asyncio.sleep(rng.choice([0, 0.0005]))
        doomed = rng.sample(futures, 3) if seed % 2 else []
        for future in doomed:
            await asyncio.sleep(rng.choice([0, 0.0005, 0.002]))
            future.cancel()
        ends = await asyncio.gather(*futures, return_exceptions=True)
        for end, value in zip(ends, expected, strict=True):
            if isinstance(end, asyncio.CancelledError):
                assert doomed
            elif value is None:
                assert isinstance(end, PlannedError | DependencyFailureError)
            else:
                assert end == value
        assert isinstance(flow.backend, ConcurrentExecutionBackend)
        slots = flow.backend._slots
        assert slots is not None
        async with asyncio.timeout(20):
            # Functions whose futures were cancelled may still run in the threads.
            while any([slots.waiting, slots.behind, slots.values, slots.queue]):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
