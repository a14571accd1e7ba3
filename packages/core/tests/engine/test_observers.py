"""Observers: what they are told, and what their errors cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from radical.asyncflow import TaskEvent, WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend

from .waiting import turns


def identity(value: Any = None) -> Any:
    return value


def states(events: Sequence[TaskEvent]) -> list[str]:
    return [event.state.name for event in events]


async def test_an_observer_is_told_of_each_state(flow: WorkflowEngine) -> None:
    events: list[TaskEvent] = []
    flow.observe(events.extend)
    await flow.function_task(identity)()
    assert states(events) == ["PENDING", "SUBMITTED", "RUNNING", "DONE"]


async def test_an_event_tells_what_happened_where(flow: WorkflowEngine) -> None:
    events: list[TaskEvent] = []
    flow.observe(events.extend)
    await flow.function_task(identity)()
    event = events[-2]
    assert (event.task_id, event.name, event.kind, event.attempt, event.backend, event.worker) == (
        1,
        "identity",
        "function",
        1,
        "scripted",
        "scripted",
    )


async def test_a_failure_comes_with_its_error(flow: WorkflowEngine) -> None:
    events: list[TaskEvent] = []
    flow.observe(events.extend)
    future = flow.function_task(lambda: 1 / 0)()
    await asyncio.wait([future])
    assert (states(events)[-1], events[-1].error) == ("FAILED", future.exception())


async def test_a_retry_is_ready_with_the_error_of_the_attempt(flow: WorkflowEngine) -> None:
    events: list[TaskEvent] = []
    flow.observe(events.extend)
    future = flow.function_task(retries=1)(lambda: 1 / 0)()
    await asyncio.wait([future])
    retry = next(event for event in events if event.state.name == "READY")
    assert isinstance(retry.error, ZeroDivisionError)
    assert future.exception() is not None


async def test_each_end_is_told_once(flow: WorkflowEngine) -> None:
    events: list[TaskEvent] = []
    flow.observe(events.extend)
    task = flow.function_task(identity)
    first = flow.function_task(lambda: 1 / 0)()
    last = [task(first), task(7)]
    task(8).cancel()
    await asyncio.gather(*last, return_exceptions=True)
    await turns()
    ends = [(event.task_id, event.state.name) for event in events if event.state >= 4]
    assert sorted(ends) == [(1, "FAILED"), (2, "FAILED"), (3, "DONE"), (4, "CANCELLED")]


async def test_an_observer_that_stopped_is_told_nothing_more(flow: WorkflowEngine) -> None:
    events: list[TaskEvent] = []
    stop = flow.observe(events.extend)
    stop()
    await flow.function_task(identity)()
    assert events == []


async def test_an_observer_that_raises_harms_nobody_else(
    flow: WorkflowEngine, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[TaskEvent] = []
    flow.observe(lambda _: 1 / 0)
    flow.observe(events.extend)
    assert await flow.function_task(identity)(7) == 7
    assert states(events)[-1] == "DONE"
    assert "raised; the run goes on" in caplog.text


async def test_an_observer_is_disabled_after_three_errors_and_told_of_once(
    flow: WorkflowEngine, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def bad(events: Sequence[TaskEvent]) -> None:
        calls.append(len(events))
        raise ValueError("as planned")

    flow.observe(bad)
    for _ in range(10):
        await flow.function_task(identity)()
    assert len(calls) == 3
    assert caplog.text.count("the run goes on") == 1
    assert caplog.text.count("is not called again") == 1


async def test_an_observer_may_stop_itself_and_raise(flow: WorkflowEngine) -> None:
    def bad(_: Sequence[TaskEvent]) -> None:
        stop()
        raise ValueError("as planned")

    stop = flow.observe(bad)
    assert await flow.function_task(identity)(7) == 7


async def test_an_observer_may_cancel_tasks(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    backend.hold()
    future = flow.function_task(identity)()

    def cancel(_: Sequence[TaskEvent]) -> None:
        future.cancel()

    flow.observe(cancel)
    other = flow.function_task(identity)()
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
