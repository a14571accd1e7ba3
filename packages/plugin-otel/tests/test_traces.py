"""The spans of runs, blocks and tasks: their order, their times and what they say."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from asyncflow_plugin_otel import _tracing
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.model import TaskKind, TaskSpec
from radical.asyncflow.testing import ScriptedBackend

from .conftest import Spans

SECRET = "hunter2"


def identity(value: Any = None) -> Any:
    return value


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def names(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


async def run(*calls: Any, **options: Any) -> list[Any]:
    """The results of the calls, or their errors, of a run on a scripted backend."""
    async with WorkflowEngine.create(ScriptedBackend(), **options) as flow:
        return await asyncio.gather(*(call(flow) for call in calls), return_exceptions=True)


async def test_a_run_is_a_root_where_no_span_is_current(spans: Spans) -> None:
    await run(uid="mine")
    span = spans["run"]
    assert span.parent is None
    assert dict(span.attributes or {}) == {
        "asyncflow.run": "mine",
        "asyncflow.run.outcome": "done",
    }


async def test_a_run_is_a_child_of_the_span_it_was_created_in(
    spans: Spans, tracer: trace.Tracer
) -> None:
    with tracer.start_as_current_span("mine"):
        await run(lambda flow: flow.function_task(identity)())
    assert parent_of(spans["run"]) == span_id(spans["mine"])
    assert parent_of(spans["task identity"]) == span_id(spans["run"])


async def test_the_parent_of_a_task_is_the_span_of_its_call(
    spans: Spans, tracer: trace.Tracer
) -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        task = flow.function_task(identity)
        with tracer.start_as_current_span("mine"):
            future = task.options(name="inner")()
        await asyncio.gather(future, task.options(name="outer")())
    assert parent_of(spans["task inner"]) == span_id(spans["mine"])
    assert parent_of(spans["task outer"]) == span_id(spans["run"])


async def test_tasks_of_blocks_are_their_children(spans: Spans) -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        task = flow.function_task(identity)

        @flow.block
        async def inner() -> None:
            await task()

        @flow.block
        async def outer() -> None:
            await inner()

        await outer()
    assert parent_of(spans["block outer"]) == span_id(spans["run"])
    assert parent_of(spans["block inner"]) == span_id(spans["block outer"])
    assert parent_of(spans["task identity"]) == span_id(spans["block inner"])
    assert parent_of(spans["execute identity"]) == span_id(spans["task identity"])


async def test_a_block_may_add_to_its_own_span(spans: Spans) -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as flow:

        @flow.block
        async def body() -> None:
            trace.get_current_span().set_attribute("mine", 7)

        await body()
    assert (spans["block body"].attributes or {})["mine"] == 7


async def test_a_task_is_linked_to_what_it_depends_on(spans: Spans) -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        task = flow.function_task(identity)
        first, second = task.options(name="first")(1), task.options(name="second")(2)
        await first  # it is finished when the next is called
        await task.options(name="last")([first, second])
    linked = {link.context.span_id for link in spans["task last"].links}
    assert linked == {span_id(spans["task first"]), span_id(spans["task second"])}
    assert spans["task first"].links == ()


async def test_the_life_of_a_task_is_in_its_span(spans: Spans) -> None:
    await run(lambda flow: flow.function_task(identity)(), uid="mine")
    span = spans["task identity"]
    assert names(span) == ["ready", "submitted", "started"]
    assert dict(span.attributes or {}) == {
        "asyncflow.run": "mine",
        "asyncflow.task.id": 1,
        "asyncflow.task.name": "identity",
        "asyncflow.task.kind": "function",
        "code.function.name": f"{__name__}.identity",
        "asyncflow.backend": "scripted",
        "asyncflow.task.state": "DONE",
        "asyncflow.task.attempt": 1,
        "asyncflow.worker": "scripted",
    }
    assert span.status.status_code is StatusCode.UNSET


async def test_times_are_those_of_what_happened(spans: Spans) -> None:
    before = time.time_ns()
    await run(lambda flow: flow.function_task(asyncio.sleep)(0.05))
    span = spans["task sleep"]
    times = [before, span.start_time, *(event.timestamp for event in span.events), span.end_time]
    assert all(
        earlier - 1_000_000 <= later
        for earlier, later in zip(times, [*times[1:], time.time_ns()], strict=True)
        if earlier is not None and later is not None
    )
    assert span.end_time is not None
    assert span.end_time - span.events[-1].timestamp >= 45_000_000


async def test_a_workflow_is_named(spans: Spans) -> None:
    await run(lambda flow: flow.function_task(identity)(workflow_id="campaign"))
    assert (spans["task identity"].attributes or {})["asyncflow.workflow"] == "campaign"


async def test_a_failure_is_an_error_with_its_exception(spans: Spans) -> None:
    await run(lambda flow: flow.function_task(name="bad")(lambda: 1 / 0)())
    span = spans["task bad"]
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "ZeroDivisionError"
    assert names(span)[-1] == "exception"
    assert (span.events[-1].attributes or {})["exception.type"] == "ZeroDivisionError"
    assert spans["run"].status.status_code is StatusCode.UNSET


async def test_a_retry_is_told_with_its_reason(spans: Spans) -> None:
    await run(lambda flow: flow.function_task(name="bad", retries=1)(lambda: 1 / 0)())
    attempt = ["ready", "submitted", "started"]
    assert names(spans["task bad"]) == [*attempt, "retried", "exception", *attempt, "exception"]
    assert len(spans.named("execute bad")) == 2
    assert (spans["task bad"].attributes or {})["asyncflow.task.attempt"] == 2


async def test_a_cancelled_task_is_no_error(spans: Spans) -> None:
    backend = ScriptedBackend()
    backend.hold()
    async with WorkflowEngine.create(backend) as flow:
        future = flow.function_task(identity)()
        future.cancel()
        await asyncio.wait([future])
    span = spans["task identity"]
    assert (span.attributes or {})["asyncflow.task.state"] == "CANCELLED"
    assert span.status.status_code is StatusCode.UNSET


async def test_a_run_that_an_exception_left_is_an_error(spans: Spans) -> None:
    async def leave() -> None:
        async with WorkflowEngine.create(ScriptedBackend()):
            raise LookupError("as planned")

    with pytest.raises(LookupError):
        await leave()
    assert spans["run"].status.status_code is StatusCode.ERROR
    assert (spans["run"].attributes or {})["asyncflow.run.outcome"] == "failed"


async def test_what_a_backend_meets_is_told_of_the_run(spans: Spans) -> None:
    await run()
    assert names(spans["run"]) == ["backend up", "backend down"]


async def test_no_argument_and_no_result_is_told(spans: Spans) -> None:
    await run(lambda flow: flow.function_task(identity)(SECRET))
    told = "".join(span.to_json() for span in spans.all())
    assert "identity" in told
    assert SECRET not in told


async def test_two_engines_do_not_share_spans(spans: Spans) -> None:
    await asyncio.gather(
        *(run(lambda flow: flow.function_task(identity)(), uid=uid) for uid in ("one", "two"))
    )
    runs = {(span.attributes or {})["asyncflow.run"]: span_id(span) for span in spans.named("run")}
    tasks = spans.named("task identity")
    assert {(span.attributes or {})["asyncflow.run"]: parent_of(span) for span in tasks} == runs


async def test_a_dry_run_has_spans_too(spans: Spans) -> None:
    async with WorkflowEngine.create(dry_run=True) as flow:
        await flow.function_task(identity)()
    assert (spans["task identity"].attributes or {})["asyncflow.backend"] == "noop"


async def test_a_span_that_is_not_sampled_is_carried_and_not_kept(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False))
    monkeypatch.setattr(_tracing._tracer, "start_span", lambda *_, **__: off)
    made = _tracing.RunTrace("mine")
    headers = made.begin(TaskSpec("t", TaskKind.BLOCK, identity), 1)
    assert headers["context"]["traceparent"].endswith("-0000000000000002-00")
    assert (made._spans, _tracing.LOCAL_SPANS) == ({}, {})


async def test_nothing_of_finished_tasks_is_kept_but_a_bounded_memory(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tracing, "MAX_REMEMBERED", 10)
    made: list[Any] = []
    init = _tracing.RunTrace.__init__

    def note(self: Any, run: str) -> None:
        init(self, run)
        made.append(self)

    monkeypatch.setattr(_tracing.RunTrace, "__init__", note)
    await run(*[lambda flow: flow.function_task(identity)()] * 100)
    assert (len(made[0]._spans), len(made[0]._finished), _tracing.LOCAL_SPANS) == (0, 10, {})
