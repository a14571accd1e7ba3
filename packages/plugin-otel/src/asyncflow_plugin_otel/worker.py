"""What is entered around a task's body, in the process where that runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from radical.asyncflow import current_task

from .version import __version__

__all__ = ["LIVE", "enter"]

LIVE: dict[int, trace.Span] = {}
"""Spans of this process whose bodies run in the engine's loop, by their ids."""

_tracer = trace.get_tracer("asyncflow_plugin_otel", __version__)


@contextmanager
def enter(headers: Mapping[str, Any]) -> Iterator[None]:
    """Have the trace be current, and around a function's body a span of its own.

    Where no provider is set, that span is none, and what the body starts or injects
    belongs to the task's.
    """
    context = propagate.extract(headers["context"])
    live = LIVE.get(trace.get_current_span(context).get_span_context().span_id)
    if live is not None:
        context = trace.set_span_in_context(live, context)
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
