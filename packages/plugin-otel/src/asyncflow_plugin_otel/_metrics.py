"""The metrics of runs; all runs of the program share the instruments."""

from __future__ import annotations

from typing import Any

from opentelemetry import metrics
from radical.asyncflow.events import Event, RunEvent, TaskEvent
from radical.asyncflow.model import TaskState

from .version import __version__

__all__ = ["Measurements"]

PENDING, READY, SUBMITTED = TaskState.PENDING, TaskState.READY, TaskState.SUBMITTED
RUNNING, DONE = TaskState.RUNNING, TaskState.DONE

_MINUTE_S, _HOUR_S = 60.0, 3600.0
_BUCKETS_S = (
    *(0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0),
    *(_MINUTE_S, 5 * _MINUTE_S, 30 * _MINUTE_S, _HOUR_S, 4 * _HOUR_S, 24 * _HOUR_S),
)

_meter = metrics.get_meter("asyncflow_plugin_otel", __version__)
_called = _meter.create_counter("asyncflow.task.calls", "{task}", "Tasks that were called")
_ended = _meter.create_counter("asyncflow.task.ends", "{task}", "Tasks that ended, by state")
_retried = _meter.create_counter("asyncflow.task.retries", "{attempt}", "Attempts after the first")
_duration = _meter.create_histogram(
    "asyncflow.task.duration",
    "s",
    "From the start of an attempt on its worker to its end",
    explicit_bucket_boundaries_advisory=_BUCKETS_S,
)
_wait = _meter.create_histogram(
    "asyncflow.task.queue.duration",
    "s",
    "From the moment an attempt was ready to its start on a worker",
    explicit_bucket_boundaries_advisory=_BUCKETS_S,
)
_queued = _meter.create_up_down_counter(
    "asyncflow.task.queued", "{task}", "Tasks that a backend has, but has not started"
)
_running = _meter.create_up_down_counter("asyncflow.task.running", "{task}", "Tasks that run now")


class _Attempt:
    """An attempt that has not ended.

    Attributes:
        ready, started: when it was, in the seconds of events.
        gauge: the one that counts it now.
    """

    __slots__ = ("backend", "gauge", "ready", "started")

    def __init__(self, backend: str, ready: float) -> None:
        self.backend = backend
        self.ready = ready
        self.gauge: metrics.UpDownCounter | None = None
        self.started = 0.0


class Measurements:
    """The measurements of one run."""

    def __init__(self) -> None:
        self._attempts: dict[int, _Attempt] = {}

    def take(self, event: Event) -> None:
        """Count *event*."""
        if isinstance(event, TaskEvent):
            self._take_task(event)
        elif isinstance(event, RunEvent) and event.state == "ended":
            for attempt in self._attempts.values():
                _move(attempt, None)
            self._attempts.clear()

    def _take_task(self, event: TaskEvent) -> None:
        state = event.state
        labels = {"asyncflow.task.name": event.name, "asyncflow.backend": event.backend}
        if state is PENDING:
            _called.add(1, labels)
        elif state is READY:
            if event.error is not None:
                _retried.add(1, labels)
                self._end_attempt(event, labels)
            else:
                self._attempts[event.task_id] = _Attempt(event.backend, event.time)
        elif state >= DONE:
            _ended.add(1, {**labels, "asyncflow.task.state": state.name})
            self._end_attempt(event, labels)
        elif (attempt := self._attempts.get(event.task_id)) is not None:
            if state is RUNNING:
                _move(attempt, _running)
                attempt.started = event.time
                _wait.record(max(0.0, event.time - attempt.ready), labels)
            else:
                _move(attempt, _queued)

    def _end_attempt(self, event: TaskEvent, labels: dict[str, Any]) -> None:
        """Measure the attempt that *event* ended; READY says that it failed."""
        attempt = self._attempts.pop(event.task_id, None)
        if attempt is None:
            return
        if attempt.gauge is _running:
            state = TaskState.FAILED if event.state is READY else event.state
            _duration.record(
                max(0.0, event.time - attempt.started),
                {**labels, "asyncflow.task.state": state.name},
            )
        _move(attempt, None)


def _move(attempt: _Attempt, gauge: metrics.UpDownCounter | None) -> None:
    """Count *attempt* in *gauge*, and no longer in the one that counted it."""
    labels = {"asyncflow.backend": attempt.backend}
    if attempt.gauge is not None:
        attempt.gauge.add(-1, labels)
    if gauge is not None:
        gauge.add(1, labels)
    attempt.gauge = gauge
