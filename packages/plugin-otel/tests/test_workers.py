"""The trace is there where tasks run: in threads, in processes, in commands."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.sdk.trace import ReadableSpan
from radical.asyncflow import Command, ExecutableError, WorkflowEngine

from .conftest import Spans
from .test_traces import SECRET, parent_of, span_id

SETS_A_PROVIDER = """
import atexit
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

stream = open({path!r}, "a", buffering=1)
atexit.register(stream.close)
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(
    SimpleSpanProcessor(ConsoleSpanExporter(
        out=stream, formatter=lambda span: span.to_json(indent=None) + "\\n"
    ))
)
trace.set_tracer_provider(provider)

def body():
    with trace.get_tracer("user").start_as_current_span("mine"):
        return 7

def fail():
    raise LookupError("as planned")
"""


def sends() -> dict[str, str]:
    """What a request made by the task would carry."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


async def sends_async() -> dict[str, str]:
    return sends()


def of(span: ReadableSpan) -> str:
    assert span.context is not None
    ids = f"{span.context.trace_id:032x}-{span.context.span_id:016x}"
    return f"00-{ids}-{span.context.trace_flags:02x}"


@pytest.fixture(params=["thread", "process", "async"])
async def flow(request: pytest.FixtureRequest, spans: Spans) -> AsyncIterator[WorkflowEngine]:
    config = {"executor_type": request.param, "max_workers": 2}
    async with WorkflowEngine.create("concurrent", config) as engine:
        yield engine


@pytest.mark.parametrize("function", [sends, sends_async])
async def test_what_a_body_injects_belongs_to_the_task(
    flow: WorkflowEngine, spans: Spans, function: Any
) -> None:
    sent = await flow.function_task(name="t")(function)()
    await flow.shutdown()
    # In a thread of this process, the body has a span of its own.
    inner = spans.named("execute t") or spans.named("task t")
    assert sent["traceparent"] == of(inner[0])


async def test_a_thread_runs_the_body_in_a_span_of_its_own(spans: Spans) -> None:
    def body() -> None:
        with trace.get_tracer("user").start_as_current_span("mine"):
            pass

    async with WorkflowEngine.create("concurrent") as flow:
        await flow.function_task(body)()
    assert parent_of(spans["mine"]) == span_id(spans["execute body"])
    assert parent_of(spans["execute body"]) == span_id(spans["task body"])
    assert dict(spans["execute body"].attributes or {}) == {
        "asyncflow.task.id": 1,
        "asyncflow.task.attempt": 1,
    }


async def test_a_process_with_a_provider_exports_the_body_and_what_it_starts(
    spans: Spans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "spans.jsonl"
    (tmp_path / "worker_side.py").write_text(SETS_A_PROVIDER.format(path=str(path)))
    monkeypatch.syspath_prepend(tmp_path)

    def body() -> Any:
        import worker_side  # type: ignore[import-not-found]

        return worker_side.body()

    def load() -> None:
        import worker_side  # noqa: F401

    config = {"executor_type": "process", "max_workers": 1}
    async with WorkflowEngine.create("concurrent", config) as flow:
        await flow.function_task(load)()
        assert await flow.function_task(body)() == 7
    seen = {span["name"]: span for span in map(json.loads, path.read_text().splitlines())}
    task = spans["task body"]
    assert seen["execute body"]["parent_id"] == f"0x{span_id(task):016x}"
    assert seen["mine"]["parent_id"] == seen["execute body"]["context"]["span_id"]
    assert {span["context"]["trace_id"] for span in seen.values()} == {
        f"0x{task.context.trace_id:032x}" if task.context else None
    }


async def test_a_failure_on_a_worker_is_recorded_with_its_traceback(
    flow: WorkflowEngine, spans: Spans
) -> None:
    def innermost() -> None:
        raise LookupError("as planned")

    with pytest.raises(LookupError):
        await flow.function_task(name="bad")(innermost)()
    await flow.shutdown()
    attributes = spans["task bad"].events[-1].attributes or {}
    assert "innermost" in str(attributes["exception.stacktrace"])


async def test_a_command_has_the_trace_in_its_environment(
    flow: WorkflowEngine, spans: Spans
) -> None:
    @flow.executable_task
    async def show() -> str:
        return "echo $TRACEPARENT"

    sent = await show()
    await flow.shutdown()
    assert sent.strip() == of(spans["task show"])


async def test_the_variables_of_a_command_are_its_own_first(
    flow: WorkflowEngine, spans: Spans
) -> None:
    @flow.executable_task
    async def show() -> Command:
        return Command("echo $TRACEPARENT", env={"TRACEPARENT": "mine"})

    assert await show() == "mine\n"


async def test_baggage_goes_along(flow: WorkflowEngine) -> None:
    token = context.attach(baggage.set_baggage("who", "me"))
    try:
        sent = await flow.function_task(sends)()
    finally:
        context.detach(token)
    assert sent["baggage"] == "who=me"


async def test_nothing_that_a_command_prints_is_told(flow: WorkflowEngine, spans: Spans) -> None:
    @flow.executable_task
    async def fail(secret: str) -> str:
        return f"echo {secret}; echo {secret} >&2; exit 3"

    with pytest.raises(ExecutableError):
        await fail(SECRET)
    await flow.shutdown()
    span = spans["task fail"]
    assert (span.attributes or {})["process.exit.code"] == 3
    assert SECRET not in "".join(span.to_json() for span in spans.all())
