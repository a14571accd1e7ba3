"""Tasks that nobody has to await: they run, and their failures are logged when they happen."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from radical.asyncflow import (
    ConfigurationError,
    DependencyFailureError,
    TaskEvent,
    WorkflowEngine,
)
from radical.asyncflow.sync import Flow
from radical.asyncflow.testing import ScriptedBackend

from .waiting import turns, until


def one_over(number: int) -> float:
    return 1 / number


OURS = ("'one_over'", "'last'", "'second_try'")


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged about the tasks of these tests, whoever logged it."""
    return [
        record
        for record in caplog.records
        if record.levelno >= logging.ERROR and any(name in record.getMessage() for name in OURS)
    ]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in errors(caplog)]


async def test_they_run_and_a_failure_is_logged_once(
    flow: WorkflowEngine, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Any] = []
    flow.observe(events.extend)
    task = flow.function_task(one_over, fire_and_forget=True)
    for number in (1, 0, 2):
        task(number)
    await flow.shutdown(cancel=False)
    gc.collect()
    assert messages(caplog) == ["task task.000002 'one_over' failed, and nobody has to await it"]
    (record,) = errors(caplog)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    ends = {event.task_id: event.state.public for event in events if isinstance(event, TaskEvent)}
    assert ends == {1: "DONE", 2: "FAILED", 3: "DONE"}


async def test_a_call_may_ask_for_it(
    flow: WorkflowEngine, caplog: pytest.LogCaptureFixture
) -> None:
    flow.function_task(one_over).options(fire_and_forget=True)(0)
    await flow.shutdown(cancel=False)
    assert messages(caplog) == ["task task.000001 'one_over' failed, and nobody has to await it"]


async def test_who_awaits_it_gets_the_error_too(
    flow: WorkflowEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ZeroDivisionError):
        await flow.function_task(one_over, fire_and_forget=True)(0)
    assert len(messages(caplog)) == 1


async def test_one_that_fails_because_another_task_did_is_logged(
    flow: WorkflowEngine, caplog: pytest.LogCaptureFixture
) -> None:
    last = flow.function_task(one_over, name="last", fire_and_forget=True)
    last(flow.function_task(one_over)(0))  # type: ignore[arg-type]
    await flow.shutdown(cancel=False)
    gc.collect()
    assert messages(caplog) == ["task task.000002 'last' failed, and nobody has to await it"]
    (record,) = errors(caplog)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], DependencyFailureError)


async def test_a_failed_attempt_and_a_cancellation_are_not_logged(
    flow: WorkflowEngine, backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [True, False]

    @flow.function_task(fire_and_forget=True, retries=1)
    def second_try() -> None:
        if failures.pop(0):
            raise ValueError

    second_try()
    await until(lambda: not failures)
    backend.hold()
    flow.function_task(one_over, fire_and_forget=True)(0).cancel()
    await turns()
    assert messages(caplog) == []


async def test_an_unfinished_one_is_cancelled_by_a_shutdown_as_any_other(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold()
    future = flow.function_task(one_over, fire_and_forget=True)(1)
    await until(backend.waiting)
    await flow.shutdown()
    assert future.cancelled()


def test_without_a_loop_of_ones_own_it_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with Flow("concurrent", {"max_workers": 1}) as flow:
        flow.function_task(one_over, fire_and_forget=True)(0)
    gc.collect()
    assert messages(caplog) == ["task task.000001 'one_over' failed, and nobody has to await it"]


async def test_it_is_true_or_false(flow: WorkflowEngine) -> None:
    with pytest.raises(ConfigurationError, match="fire_and_forget must be True or False, not 1"):
        flow.function_task(one_over, fire_and_forget=1)  # type: ignore[call-overload]
    await asyncio.sleep(0)
