"""A run as OpenTelemetry sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import metrics, trace
from radical.asyncflow.events import Event
from radical.asyncflow.hookspecs import Carrier
from radical.asyncflow.model import TaskSpec

from ._metrics import Measurements
from ._tracing import RunTrace

__all__ = ["Telemetry", "is_set_up"]


class Telemetry(Carrier):
    """Sends the trace along with the tasks of one run; turns its events into spans and metrics."""

    enter = "asyncflow_plugin_otel.worker:enter"

    def __init__(self, run: str) -> None:
        """Begin the span of the run, in the context that creates the engine."""
        self._trace = RunTrace(run) if _is_real(trace.get_tracer_provider()) else None
        self._measurements = Measurements() if _is_real(metrics.get_meter_provider()) else None

    def carry(self, spec: TaskSpec, task_id: int) -> Any:
        """Begin the span of the task, and return its context, which travels with the task."""
        return None if self._trace is None else self._trace.begin(spec, task_id)

    def environment(self, headers: Mapping[str, Any]) -> Mapping[str, str]:
        """Return ``TRACEPARENT`` and whatever else the propagators write, as variables."""
        context: Mapping[str, str] = headers["context"]
        return {key.upper().replace("-", "_"): value for key, value in context.items()}

    def events(self, events: Sequence[Event]) -> None:
        """Take in *events*; called in the plugin's own thread."""
        for event in events:
            if self._measurements is not None:
                self._measurements.take(event)
            if self._trace is not None:
                self._trace.take(event)


def is_set_up() -> bool:
    """Return whether the program has set a provider of its own, for traces or for metrics."""
    return _is_real(trace.get_tracer_provider()) or _is_real(metrics.get_meter_provider())


def _is_real(provider: object) -> bool:
    """Return whether *provider* is none of the API's own, which do nothing."""
    return not type(provider).__module__.startswith(
        ("opentelemetry.trace", "opentelemetry.metrics")
    )
