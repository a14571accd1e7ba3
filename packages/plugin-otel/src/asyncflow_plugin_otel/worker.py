"""The trace around a task's body, in the process where the body runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from radical.asyncflow import current_task

from .version import __version__

__all__ = ["LOCAL_SPANS", "enter"]

LOCAL_SPANS: dict[int, trace.Span] = {}
"""Spans of unfinished tasks whose bodies run in the engine's own process, by span id."""

_tracer = trace.get_tracer("asyncflow_plugin_otel", __version__)


@contextmanager
def enter(headers: Mapping[str, Any]) -> Iterator[None]:
    """Make the trace current, and open a span of its own around a function's body.

    In a process without a provider that span does nothing, and what the body starts or
    injects belongs to the span of the task.
    """
    context = propagate.extract(headers["context"])
    local = LOCAL_SPANS.get(trace.get_current_span(context).get_span_context().span_id)
    if local is not None:
        context = trace.set_span_in_context(local, context)
    token = contexts.attach(context)
    try:
        name = headers.get("execute")
        if name is None:
            yield
        else:
            with _tracer.start_as_current_span(f"execute {name}", attributes=_attributes()):
                yield
    finally:
        contexts.detach(token)


def _attributes() -> dict[str, Any]:
    task = current_task()
    if task is None:
        return {}
    return {"asyncflow.task.id": task.task_id, "asyncflow.task.attempt": task.attempt}
