"""Providers of the SDK that keep all in memory; outside of a test that asks there are none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import opentelemetry.metrics._internal as metrics_internal
import opentelemetry.trace as trace_internal
import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from radical.asyncflow.testing import LeakGuard

_EXPORTER = InMemorySpanExporter()
_TRACERS = TracerProvider(shutdown_on_exit=False)
_TRACERS.add_span_processor(SimpleSpanProcessor(_EXPORTER))
_DELTA = AggregationTemporality.DELTA
_READER = InMemoryMetricReader({Counter: _DELTA, Histogram: _DELTA})
_METERS = MeterProvider([_READER], shutdown_on_exit=False)


class Spans:
    """The spans that have ended."""

    def all(self) -> list[ReadableSpan]:
        return list(_EXPORTER.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    def __getitem__(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Sets the tracer provider for one test; a process may set one only once."""
    monkeypatch.setattr(trace_internal, "_TRACER_PROVIDER", _TRACERS)
    _EXPORTER.clear()
    return Spans()


Measured = Callable[[], dict[tuple[str, ...], Any]]

_bound = False


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    """Sets the meter provider for one test; gives what was measured since."""
    global _bound
    if not _bound:
        _bound = True
        metrics.set_meter_provider(_METERS)  # binds the instruments that exist already
        metrics_internal._METER_PROVIDER = None
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER", _METERS)
    _READER.get_metrics_data()

    def look() -> dict[tuple[str, ...], Any]:
        """``{(name, *values of the attributes in the order of their keys): value}``."""
        data = _READER.get_metrics_data()
        found = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        labels = [str(value) for _, value in sorted(point.attributes.items())]
                        value = point.value if hasattr(point, "value") else point
                        found[metric.name, *labels] = value
        return found

    return look


@pytest.fixture(autouse=True)
def leak_guard(tmp_path: Path) -> Iterator[None]:
    """A test leaves nothing behind."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    with contextlib.chdir(folder), LeakGuard():
        yield


@pytest.fixture
def tracer() -> trace.Tracer:
    """The user's own."""
    return _TRACERS.get_tracer("user")
