"""What is counted and measured; the instruments are shared by all runs of the program."""

from __future__ import annotations

from typing import Any

from opentelemetry import metrics
from radical.asyncflow.events import Event, RunEvent, TaskEvent
from radical.asyncflow.model import TaskState

from .version import __version__

__all__ = ["Measures"]

PENDING, READY, SUBMITTED = TaskState.PENDING, TaskState.READY, TaskState.SUBMITTED
RUNNING, DONE = TaskState.RUNNING, TaskState.DONE

_SECONDS = (
    *(0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0),
    *(300.0, 1800.0, 3600.0, 14400.0, 86400.0),
)

_meter = metrics.get_meter("asyncflow_plugin_otel", __version__)
_called = _meter.create_counter("asyncflow.task.calls", "{task}", "Tasks that were called")
_ended = _meter.create_counter("asyncflow.task.ends", "{task}", "Tasks that ended, by state")
_retried = _meter.create_counter("asyncflow.task.retries", "{attempt}", "Attempts after the first")
_duration = _meter.create_histogram(
    "asyncflow.task.duration",
    "s",
    "From the beginning of an attempt on its worker to its end",
    explicit_bucket_boundaries_advisory=_SECONDS,
)
_wait = _meter.create_histogram(
    "asyncflow.task.queue.duration",
    "s",
    "From the moment that an attempt was ready to its beginning on a worker",
    explicit_bucket_boundaries_advisory=_SECONDS,
)
_queued = _meter.create_up_down_counter(
    "asyncflow.task.queued", "{task}", "Tasks that a backend has and has not begun"
)
_running = _meter.create_up_down_counter("asyncflow.task.running", "{task}", "Tasks that run")


class _Attempt:
    """Where a task stands: when it was ready, which gauge it is in and since when."""

    __slots__ = ("backend", "gauge", "ready", "since")

    def __init__(self, backend: str, ready: float) -> None:
        self.backend = backend
        self.ready = ready
        self.gauge: metrics.UpDownCounter | None = None
        self.since = 0.0


class Measures:
    """The measurements of one run."""

    def __init__(self) -> None:
        self._attempts: dict[int, _Attempt] = {}

    def take(self, event: Event) -> None:
        """Count *event*."""
        if isinstance(event, TaskEvent):
            self._take_task(event)
        elif isinstance(event, RunEvent) and event.state == "ended":
            for attempt in self._attempts.values():
                self._enter(attempt, None)
            self._attempts.clear()

    def _take_task(self, event: TaskEvent) -> None:
        state = event.state
        labels = {"asyncflow.task.name": event.name, "asyncflow.backend": event.backend}
        if state is PENDING:
            _called.add(1, labels)
        elif state is READY:
            if event.error is not None:
                _retried.add(1, labels)
                self._leave(event, labels)
            else:
                self._attempts[event.task_id] = _Attempt(event.backend, event.time)
        elif state >= DONE:
            _ended.add(1, {**labels, "asyncflow.task.state": state.name})
            self._leave(event, labels)
        elif (attempt := self._attempts.get(event.task_id)) is not None:
            if state is RUNNING:
                self._enter(attempt, _running)
                attempt.since = event.time
                _wait.record(max(0.0, event.time - attempt.ready), labels)
            else:
                self._enter(attempt, _queued)

    def _leave(self, event: TaskEvent, labels: dict[str, Any]) -> None:
        """An attempt is over; READY stands for one that failed."""
        attempt = self._attempts.pop(event.task_id, None)
        if attempt is None:
            return
        if attempt.gauge is _running:
            state = TaskState.FAILED if event.state is READY else event.state
            _duration.record(
                max(0.0, event.time - attempt.since),
                {**labels, "asyncflow.task.state": state.name},
            )
        self._enter(attempt, None)

    def _enter(self, attempt: _Attempt, gauge: metrics.UpDownCounter | None) -> None:
        labels = {"asyncflow.backend": attempt.backend}
        if attempt.gauge is not None:
            attempt.gauge.add(-1, labels)
        if gauge is not None:
            gauge.add(1, labels)
        attempt.gauge = gauge
