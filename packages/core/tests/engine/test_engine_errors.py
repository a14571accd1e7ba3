"""What an error of the engine's own becomes: a failure of the task, and never a hang."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from radical.asyncflow import DependencyFailureError, RetryPolicy, TaskFuture, WorkflowEngine
from radical.asyncflow.backend import ExecutableResult, TaskState
from radical.asyncflow.testing import ScriptedBackend

from .waiting import until


def number() -> int:
    return 1


def double(value: int) -> int:
    return 2 * value


def broken_result() -> Any:
    """Return a result that no backend may report, and that the engine cannot handle."""
    return ExecutableResult(1, None, None)  # type: ignore[arg-type]


async def test_a_report_that_the_engine_fails_on_fails_its_task(
    flow: WorkflowEngine, backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.hold(1)
    future = flow.executable_task(lambda: "true")()
    await until(lambda: backend.submitted)
    backend.sink.done(1, 1, broken_result())
    with pytest.raises(TypeError) as caught:
        await asyncio.wait_for(asyncio.shield(future), 10)
    assert "raised by the engine itself" in caught.value.__notes__[0]
    assert "malformed" not in caplog.text
    assert future.state == "FAILED"


async def test_its_dependents_fail_with_it(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    backend.hold(1)
    first = flow.executable_task(lambda: "true")()
    second = flow.function_task(double)(first)
    await until(lambda: backend.submitted)
    backend.sink.done(1, 1, broken_result())
    with pytest.raises(DependencyFailureError) as caught:
        await asyncio.wait_for(second, 10)
    assert isinstance(caught.value.__cause__, TypeError)


async def test_the_next_report_is_taken_in_as_ever(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    backend.hold(1, 2)
    first, second = flow.executable_task(lambda: "true")(), flow.function_task(number)()
    await until(lambda: len(backend.submitted) == 2)
    backend.sink.report(
        [(1, 1, TaskState.DONE, broken_result(), None), (2, 1, TaskState.DONE, 7, None)]
    )
    assert await asyncio.wait_for(second, 10) == 7
    with pytest.raises(TypeError):
        await first


async def test_a_ready_task_that_the_engine_fails_on_fails(flow: WorkflowEngine) -> None:
    def refuse(_: TaskFuture[Any]) -> bool:
        raise LookupError("no such thing")

    flow._dispatcher.run.hold_back = refuse
    first = flow.function_task(number)()
    with pytest.raises(LookupError, match="no such thing"):
        await asyncio.wait_for(asyncio.shield(first), 10)
    flow._dispatcher.run.hold_back = None
    assert await flow.function_task(number)() == 1


async def test_a_timer_that_the_engine_fails_in_fails_its_task(
    flow: WorkflowEngine, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise LookupError("no such thing")

    backend.hold(1)
    future = flow.function_task(timeout=0.01)(number)()
    monkeypatch.setattr(flow._dispatcher.outcomes, "end", fail)
    await until(lambda: backend.submitted)
    backend.sink.running(1, 1)
    with pytest.raises(LookupError, match="no such thing"):
        await asyncio.wait_for(asyncio.shield(future), 10)
    monkeypatch.undo()


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(attempts=3, on=lambda _: {}["missing"]),
        RetryPolicy(attempts=3, wait=lambda _: {}["missing"]),
    ],
    ids=["on", "wait"],
)
async def test_a_retry_policy_that_raises_has_the_task_s_error_as_its_cause(
    flow: WorkflowEngine, policy: RetryPolicy
) -> None:
    def fail() -> None:
        raise ValueError("the task's own")

    with pytest.raises(KeyError, match="missing") as caught:
        await flow.function_task(retries=policy)(fail)()
    assert isinstance(caught.value.__cause__, ValueError)
    assert str(caught.value.__cause__) == "the task's own"
    assert "retry policy of task 'fail'" in caught.value.__notes__[0]


async def test_a_retry_policy_may_raise_the_error_that_it_was_asked_about(
    flow: WorkflowEngine,
) -> None:
    def raise_it(state: Any) -> bool:
        raise state.outcome.exception()

    def fail() -> None:
        raise ValueError("the task's own")

    with pytest.raises(ValueError, match="the task's own") as caught:
        await flow.function_task(retries=RetryPolicy(attempts=3, on=raise_it))(fail)()
    assert caught.value.__cause__ is None


async def test_a_retry_policy_cannot_end_the_program(flow: WorkflowEngine) -> None:
    def leave(_: Any) -> bool:
        raise SystemExit(3)

    def fail() -> None:
        raise ValueError("the task's own")

    future = flow.function_task(retries=RetryPolicy(attempts=3, on=leave))(fail)()
    with pytest.raises(RuntimeError, match="SystemExit"):
        await future
    assert isinstance(future.exception().__cause__, SystemExit)  # type: ignore[union-attr]
