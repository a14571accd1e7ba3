"""Observers: what they are told, and what their errors cost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import pytest
from radical.asyncflow import BackendLostError, Resources, TaskFuture, WorkflowEngine
from radical.asyncflow.backend import Report
from radical.asyncflow.events import BackendEvent, Event, RunEvent
from radical.asyncflow.model import TaskState
from radical.asyncflow.testing import ScriptedBackend

from .waiting import turns


def identity(value: Any = None) -> Any:
    return value


def states(events: Sequence[Any]) -> list[str]:
    return [event.state.name for event in events]


async def test_an_observer_is_told_of_each_state(flow: WorkflowEngine) -> None:
    events: list[Any] = []
    flow.observe(events.extend)
    await flow.function_task(identity)()
    assert states(events) == ["PENDING", "READY", "SUBMITTED", "RUNNING", "DONE"]


async def test_an_event_tells_what_happened_where(flow: WorkflowEngine) -> None:
    events: list[Any] = []
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
    events: list[Any] = []
    flow.observe(events.extend)
    future = flow.function_task(lambda: 1 / 0)()
    await asyncio.wait([future])
    assert (states(events)[-1], events[-1].error) == ("FAILED", future.exception())


async def test_a_retry_is_ready_with_the_error_of_the_attempt(flow: WorkflowEngine) -> None:
    events: list[Any] = []
    flow.observe(events.extend)
    future = flow.function_task(retries=1)(lambda: 1 / 0)()
    await asyncio.wait([future])
    (retry,) = [event for event in events if event.state.name == "READY" and event.error]
    assert isinstance(retry.error, ZeroDivisionError)
    assert future.exception() is not None


async def test_each_end_is_told_once(flow: WorkflowEngine) -> None:
    events: list[Any] = []
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
    events: list[Any] = []
    stop = flow.observe(events.extend)
    await flow.function_task(identity)()
    await turns()
    told = len(events)
    assert told > 0
    stop()
    await flow.function_task(identity)()
    await turns()
    assert len(events) == told


async def test_an_observer_that_raises_harms_nobody_else(
    flow: WorkflowEngine, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Any] = []
    flow.observe(lambda _: 1 / 0)
    flow.observe(events.extend)
    assert await flow.function_task(identity)(7) == 7
    assert states(events)[-1] == "DONE"
    assert "raised; the run goes on" in caplog.text


async def test_an_observer_is_disabled_after_three_errors_and_told_of_once(
    flow: WorkflowEngine, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def bad(events: Sequence[Event]) -> None:
        calls.append(len(events))
        raise ValueError("as planned")

    flow.observe(bad)
    for _ in range(10):
        await flow.function_task(identity)()
    assert len(calls) == 3
    assert caplog.text.count("the run goes on") == 1
    assert caplog.text.count("is not called again") == 1


async def test_an_observer_may_stop_itself_and_raise(flow: WorkflowEngine) -> None:
    def bad(_: Sequence[Event]) -> None:
        stop()
        raise ValueError("as planned")

    stop = flow.observe(bad)
    assert await flow.function_task(identity)(7) == 7


async def test_an_observer_may_cancel_tasks(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    backend.hold()
    future = flow.function_task(identity)()

    def cancel(_: Sequence[Event]) -> None:
        future.cancel()

    flow.observe(cancel)
    other = flow.function_task(identity)()
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future


async def test_the_first_event_says_what_a_task_is_part_of(flow: WorkflowEngine) -> None:
    events: list[Any] = []
    flow.observe(events.extend)
    task = flow.function_task(resources={"cores": 2})(identity)

    @flow.block
    async def body() -> None:
        first = task(1)
        with flow.workflow_scope("campaign"):
            await task([first, first])

    await body()
    added = {event.task_id: event for event in events if event.state is TaskState.PENDING}
    assert (added[1].depends_on, added[1].block, added[1].workflow_id) == ((), None, None)
    assert (added[2].depends_on, added[2].block, added[2].workflow_id) == ((), 1, None)
    assert (added[3].depends_on, added[3].block, added[3].workflow_id) == ((2,), 1, "campaign")
    assert added[3].resources == Resources(cores=2)


async def test_every_event_names_its_run(flow: WorkflowEngine) -> None:
    events: list[Any] = []
    flow.observe(events.extend)
    await flow.function_task(identity)()
    assert {event.run for event in events} == {flow.uid}


async def test_the_events_of_a_retry_count_its_attempt(flow: WorkflowEngine) -> None:
    events: list[Any] = []
    flow.observe(events.extend)
    await asyncio.wait([flow.function_task(retries=1)(lambda: 1 / 0)()])
    assert [(event.state.name, event.attempt) for event in events] == [
        ("PENDING", 1),
        ("READY", 1),
        ("SUBMITTED", 1),
        ("RUNNING", 1),
        ("READY", 2),
        ("READY", 2),
        ("SUBMITTED", 2),
        ("RUNNING", 2),
        ("FAILED", 2),
    ]


async def test_both_clocks_tell_the_same_moment(flow: WorkflowEngine) -> None:
    events: list[Any] = []
    flow.observe(events.extend)
    before = time.monotonic(), time.time()
    await flow.function_task(identity)()
    after = time.monotonic(), time.time()
    assert [event.state.name for event in events][-2:] == ["RUNNING", "DONE"]
    for event in events:
        assert before[0] <= event.time <= after[0]
        assert before[1] - 0.01 <= event.wall <= after[1] + 0.01


async def test_an_event_has_the_time_that_its_report_says(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    events: list[Any] = []
    flow.observe(events.extend)
    future = flow.function_task(identity)()
    await turns()
    reports = [
        Report(1, 1, TaskState.RUNNING, "w", 5.0),
        Report(1, 1, TaskState.DONE, None, 6.0),
    ]
    backend.sink.report(reports)
    await future
    await turns()
    assert [event.time for event in events[-2:]] == [5.0, 6.0]


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELLED])
async def test_an_end_without_a_result_has_its_own_time_too(
    flow: WorkflowEngine, backend: ScriptedBackend, state: TaskState
) -> None:
    backend.hold()
    events: list[Any] = []
    flow.observe(events.extend)
    future = flow.function_task(identity)()
    await turns()
    backend.sink.report([Report(1, 1, state, ValueError(), 6.0)])
    await asyncio.wait([future])
    await turns()
    assert (events[-1].state, events[-1].time) == (state, 6.0)


async def test_the_time_of_one_report_is_not_that_of_a_later_event(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    events: list[Any] = []
    flow.observe(events.extend)
    future = flow.function_task(identity)()
    await turns()
    backend.sink.report([Report(1, 1, TaskState.FAILED, ValueError(), 6.0)])
    await asyncio.wait([future])
    before = time.monotonic()
    flow.function_task(identity)()
    await turns()
    assert events[-1].time >= before


async def test_a_report_without_a_time_was_when_it_was_handed_in(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    events: list[Any] = []
    flow.observe(events.extend)
    future = flow.function_task(identity)()
    await turns()
    backend.sink.report([Report(1, 1, TaskState.DONE)])
    handed_in = time.monotonic()
    time.sleep(0.02)  # noqa: ASYNC251 - the loop looks later
    await future
    await turns()
    assert events[-1].time <= handed_in


async def test_a_backend_knows_whether_somebody_watches(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    watched = [backend.sink.watched]
    stop = flow.observe(lambda _: None)
    watched.append(backend.sink.watched)
    stop()
    watched.append(backend.sink.watched)
    assert watched == [False, True, False]


async def test_a_lost_backend_goes_down_once_with_its_error(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    events: list[Any] = []
    flow.observe(events.extend)
    backend.lose(BackendLostError("gone"))
    await turns()
    await flow.shutdown()
    downs = [event for event in events if isinstance(event, BackendEvent)]
    assert [(event.backend, event.state, str(event.error)) for event in downs] == [
        ("scripted", "down", "gone")
    ]


class TestOutcome:
    @pytest.fixture
    def ends(self) -> list[RunEvent]:
        return []

    def observe(self, flow: WorkflowEngine, ends: list[RunEvent]) -> None:
        flow.observe(lambda events: ends.extend(e for e in events if isinstance(e, RunEvent)))

    async def test_a_run_whose_tasks_all_ended_is_done(self, ends: list[RunEvent]) -> None:
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            self.observe(flow, ends)
            flow.function_task(identity)()
        assert [(event.outcome, event.error) for event in ends] == [("done", None)]

    async def test_a_run_that_an_exception_left_failed(self, ends: list[RunEvent]) -> None:
        async def run() -> None:
            async with WorkflowEngine.create(ScriptedBackend()) as flow:
                self.observe(flow, ends)
                raise LookupError

        with pytest.raises(LookupError):
            await run()
        assert [(event.outcome, type(event.error)) for event in ends] == [("failed", LookupError)]

    async def test_a_run_whose_tasks_were_cancelled_is_cancelled(
        self, flow: WorkflowEngine, backend: ScriptedBackend, ends: list[RunEvent]
    ) -> None:
        self.observe(flow, ends)
        backend.hold()
        flow.function_task(identity)()
        await turns()
        await flow.shutdown()
        assert [event.outcome for event in ends] == ["cancelled"]


async def test_an_event_outside_of_a_batch_is_told_soon(flow: WorkflowEngine) -> None:
    events: list[Any] = []
    flow.observe(events.extend)
    forever = asyncio.Event()

    @flow.block
    async def body() -> None:
        await forever.wait()

    future: TaskFuture[None] = body()
    await turns()
    assert states(events) == ["PENDING", "READY", "RUNNING"]
    future.cancel()
    await asyncio.wait([future])


async def test_an_observer_that_holds_the_loop_is_warned_of_once(
    flow: WorkflowEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radical.asyncflow._watch.observers.SLOW_CALL_S", 0.0)
    flow.observe(lambda _: None)
    with caplog.at_level(logging.WARNING, "radical.asyncflow"):
        for _ in range(3):
            await flow.function_task(identity)()
            await turns()
    assert caplog.text.count("held the event loop") == 1
