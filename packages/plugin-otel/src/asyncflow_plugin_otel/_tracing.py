"""The spans of one run: the run itself, its blocks and its tasks.

A span begins at the call, in the caller's thread and context; everything else about it
comes with the events, in the plugin's thread.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from radical.asyncflow.errors import ExecutableError
from radical.asyncflow.events import BackendEvent, Event, RunEvent, TaskEvent
from radical.asyncflow.model import TaskKind, TaskSpec, TaskState
from radical.asyncflow.worker import safe_str

from .version import __version__
from .worker import LOCAL_SPANS

__all__ = ["RunTrace"]

READY = TaskState.READY
DONE, FAILED = TaskState.DONE, TaskState.FAILED

MAX_REMEMBERED = 10_000
"""Finished tasks to which the span of a later one can still be linked."""

_EVENT_NAMES = {
    TaskState.SUBMITTED: "submitted",
    TaskState.RUNNING: "started",
}
_tracer = trace.get_tracer("asyncflow_plugin_otel", __version__)
_w3c = TraceContextTextMapPropagator()


class RunTrace:
    """The span of a run, and those of its tasks while they are unfinished."""

    def __init__(self, run: str) -> None:
        self._outside = trace.get_current_span().get_span_context()
        self._run = _tracer.start_span("run", attributes={"asyncflow.run": run})
        self._uid = run
        self._spans: dict[int, trace.Span] = {}
        self._finished: OrderedDict[int, trace.SpanContext] = OrderedDict()

    # ---------------------------------------------- in the caller's context

    def begin(self, spec: TaskSpec, task_id: int) -> Mapping[str, Any]:
        """Begin the span of a task that is being called; return what travels with the task."""
        here = contexts.get_current()
        caller = trace.get_current_span().get_span_context()
        if not caller.is_valid or caller == self._outside:
            # Called where the run itself was begun: the span of the run lies between.
            parent = trace.set_span_in_context(self._run, here)
        else:
            parent = here
        is_block = spec.kind is TaskKind.BLOCK
        span = _tracer.start_span(
            f"{'block' if is_block else 'task'} {spec.name}",
            parent,
            attributes={
                "asyncflow.run": self._uid,
                "asyncflow.task.id": task_id,
                "asyncflow.task.name": spec.name,
                "asyncflow.task.kind": str(spec.kind),
                "code.function.name": _function_name(spec),
            },
        )
        if span.is_recording():
            self._spans[task_id] = span
        inside = trace.set_span_in_context(span, here)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, inside)
        if "traceparent" not in carrier:
            _w3c.inject(carrier, inside)
        headers: dict[str, Any] = {"context": carrier}
        if spec.kind is TaskKind.FUNCTION:
            headers["execute"] = spec.name
        elif span.is_recording():
            # Its body runs in this process, where the span itself can be current.
            LOCAL_SPANS[span.get_span_context().span_id] = span
        return headers

    # -------------------------------------------------- in the plugin's thread

    def take(self, event: Event) -> None:
        """Change the spans as *event* says."""
        if isinstance(event, TaskEvent):
            span = self._spans.get(event.task_id)
            if span is not None:
                self._take_task(span, event)
        elif isinstance(event, BackendEvent):
            attributes = {"asyncflow.backend": event.backend}
            self._run.add_event(f"backend {event.state}", attributes, _nanoseconds(event.wall))
            if event.error is not None:
                _record(self._run, event.error, event.wall)
        elif isinstance(event, RunEvent) and event.state == "ended":
            self._end_run(event)

    def _take_task(self, span: trace.Span, event: TaskEvent) -> None:
        state = event.state
        when = _nanoseconds(event.wall)
        if state is TaskState.PENDING:
            self._describe(span, event)
        elif state is READY and event.error is not None:
            span.add_event("retried", {"asyncflow.task.attempt": event.attempt}, when)
            _record(span, event.error, event.wall)
        elif state is READY:
            span.add_event("ready", {"asyncflow.task.attempt": event.attempt}, when)
        elif state < DONE:
            attributes: dict[str, Any] = {"asyncflow.task.attempt": event.attempt}
            if event.worker is not None:
                attributes["asyncflow.worker"] = event.worker
            span.add_event(_EVENT_NAMES[state], attributes, when)
        else:
            self._end(span, event)

    def _describe(self, span: trace.Span, event: TaskEvent) -> None:
        """Add what only the engine knows about a call."""
        if event.backend:
            span.set_attribute("asyncflow.backend", event.backend)
        if event.workflow_id is not None:
            span.set_attribute("asyncflow.workflow", event.workflow_id)
        for number in event.depends_on:
            other = self._spans.get(number)
            context = self._finished.get(number) if other is None else other.get_span_context()
            if context is not None:
                span.add_link(context, {"asyncflow.task.id": number})

    def _end(self, span: trace.Span, event: TaskEvent) -> None:
        del self._spans[event.task_id]
        context = span.get_span_context()
        LOCAL_SPANS.pop(context.span_id, None)
        self._finished[event.task_id] = context
        if len(self._finished) > MAX_REMEMBERED:
            self._finished.popitem(last=False)
        attributes: dict[str, Any] = {
            "asyncflow.task.state": event.state.name,
            "asyncflow.task.attempt": event.attempt,
        }
        if event.worker is not None:
            attributes["asyncflow.worker"] = event.worker
        span.set_attributes(attributes)
        if event.state is FAILED and event.error is not None:
            _fail(span, event.error, event.wall)
        span.end(_nanoseconds(event.wall))

    def _end_run(self, event: RunEvent) -> None:
        # There are open ones only if some events were left out.
        for span in self._spans.values():
            LOCAL_SPANS.pop(span.get_span_context().span_id, None)
            span.end(_nanoseconds(event.wall))
        self._spans.clear()
        self._run.set_attribute("asyncflow.run.outcome", event.outcome)
        if event.outcome == "failed" and event.error is not None:
            _fail(self._run, event.error, event.wall)
        self._run.end(_nanoseconds(event.wall))


def _fail(span: trace.Span, error: BaseException, wall: float) -> None:
    span.set_attribute("error.type", _name_of(type(error)))
    if isinstance(error, ExecutableError):
        span.set_attribute("process.exit.code", error.exit_code)
    _record(span, error, wall)
    span.set_status(trace.Status(trace.StatusCode.ERROR, _summary(error)))


def _record(span: trace.Span, error: BaseException, wall: float) -> None:
    attributes = None
    if isinstance(error, ExecutableError):
        # Its own text begins with the command's arguments and ends with what it printed.
        attributes = {"exception.message": _summary(error), "exception.stacktrace": ""}
    span.record_exception(error, attributes, _nanoseconds(wall))


def _summary(error: BaseException) -> str:
    if isinstance(error, ExecutableError):
        code = error.exit_code
        return f"exit code {code}" if code >= 0 else f"signal {-code}"
    return safe_str(error)


def _function_name(spec: TaskSpec) -> str:
    function = spec.function
    while isinstance(function, functools.partial):
        function = function.func
    return _name_of(function) if hasattr(function, "__qualname__") else _name_of(type(function))


def _name_of(thing: Any) -> str:
    module = thing.__module__
    return thing.__qualname__ if module in (None, "builtins") else f"{module}.{thing.__qualname__}"


def _nanoseconds(wall: float) -> int:
    return int(wall * 1e9)
