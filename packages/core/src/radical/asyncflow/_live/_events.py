"""The same model, filled from the events of an engine, also in another process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isnan
from typing import Any

from .._resume.lines import error_record
from ..events import BackendEvent, Event, RunEvent, ServiceEvent, TaskEvent
from ..journal import AttemptRecord, ErrorRecord, FunctionRecord
from ..model import TaskState
from ._run import LiveRun

__all__ = ["EventFeed", "begun_items", "items_of"]

Item = Sequence[Any]
"""One event in values that JSON has; a word and the time by `time.monotonic` come first."""


def items_of(events: Iterable[Event]) -> list[Item]:
    """Return what *events* say, for `EventFeed.take_items`."""
    found: list[Item] = []
    for event in events:
        if type(event) is TaskEvent:
            error = None if event.error is None else error_record(event.error, arguments=True)
            found.append(
                (
                    event.state.name,
                    event.time,
                    event.task_id,
                    event.name,
                    event.kind.value,
                    event.attempt,
                    event.backend,
                    event.worker,
                    error,
                    event.workflow_id,
                    event.depends_on,
                    1 if event.resources is None else event.resources.total_cores,
                )
            )
        elif type(event) is BackendEvent:
            text = "" if event.error is None else error_record(event.error, arguments=True).text
            found.append((event.state, event.time, event.backend, text, event.moved))
        elif type(event) is ServiceEvent:
            found.append(("service", event.time, event.task_id, event.state))
        elif type(event) is RunEvent and event.state == "ended":
            found.append(("ended", event.time, event.outcome))
    return found


def begun_items(tasks: Iterable[tuple[int, str, bool]], time: float) -> list[Item]:
    """Return the items of *tasks* that were called before anybody watched.

    Each is its number, its name, and whether it runs.
    """
    found: list[Item] = []
    for number, name, running in tasks:
        rest = (number, name, "function", 1, "", None, None, None, (), 1)
        found.append(("PENDING", time, *rest))
        if running:
            found.append(("RUNNING", time, *rest))
    return found


class EventFeed:
    """The feeder of *run* with the events of its engine: give `take` to ``flow.observe``.

    Args:
        began: the time that counts as the beginning of the run, by `time.monotonic`.
    """

    def __init__(self, run: LiveRun, began: float) -> None:
        self.run = run
        self._began = began
        self._functions: dict[tuple[str, str, int], int] = {}
        self._actions: dict[str, Callable[..., None]] = {
            "up": self._backend_up,
            "down": self._backend_down,
            "ended": self._run_ended,
            "service": self._service,
            "PENDING": self._called,
            "READY": self._ready,
            "SUBMITTED": self._sent,
            "RUNNING": self._started,
        }

    def take(self, events: Iterable[Event]) -> None:
        """Tell the model of *events*."""
        self.take_items(items_of(events))

    def take_items(self, items: Iterable[Item]) -> None:
        """Tell the model of *items*."""
        began = self._began
        for what, time, *rest in items:
            action = self._actions.get(what)
            if action is None:
                self._task_ended(what, time - began, *rest)
            else:
                action(time - began, *rest)
        self.run.trim()

    def _backend_up(self, time: float, name: str, *_: object) -> None:
        self.run.backend_up(name, "", time)

    def _backend_down(self, time: float, name: str, lost: str, moved: int) -> None:
        self.run.backend_down(name, time, lost, moved)

    def _run_ended(self, time: float, outcome: str) -> None:
        self.run.end(time, outcome)

    def _service(self, time: float, number: int, state: str) -> None:
        if state == "up":
            self.run.service_up(number)
        else:
            self.run.service_ended(number, time)

    def _called(self, time: float, number: int, name: str, kind: str, *rest: Any) -> None:
        workflow, after, cores = rest[4:]
        self.run.called(number, 1, self._function(name, kind, cores), time, after, workflow)

    def _sent(self, time: float, number: int, *rest: Any) -> None:
        self.run.sent(rest[3], (number,), time)

    def _started(self, time: float, number: int, name: str, kind: str, *rest: Any) -> None:
        attempt, backend, worker = rest[:3]
        self.run.started(
            number,
            self._function(name, kind, rest[-1]),
            (None, None, time),
            attempt=attempt,
            backend=backend,
            worker=worker,
        )

    def _ready(self, time: float, number: int, name: str, kind: str, *rest: Any) -> None:
        attempt, _, worker, error = rest[:4]
        if error is None:
            self.run.ready(number, time)
            return
        started = self.run.columns.started[number] if self.run.state_of(number) else time
        begun = None if isnan(started) else started
        failed = AttemptRecord(attempt - 1, begun, time, worker, ErrorRecord(*error))
        self.run.attempt_failed(number, self._function(name, kind, rest[-1]), failed)

    def _task_ended(
        self, state: str, time: float, number: int, name: str, kind: str, *rest: Any
    ) -> None:
        attempt, backend, worker, error = rest[:4]
        self.run.task_ended(
            number,
            self._function(name, kind, rest[-1]),
            state,
            (None, None, None, time),
            attempt=attempt,
            backend=backend,
            worker=worker,
        )
        if state == TaskState.FAILED.name:
            self.run.describe_failure(number, None if error is None else ErrorRecord(*error))

    def _function(self, name: str, kind: str, cores: int) -> int:
        number = self._functions.get((name, kind, cores))
        if number is None:
            number = self._functions[name, kind, cores] = len(self._functions) + 1
            self.run.function(FunctionRecord(number, name, kind, "", resources={"cores": cores}))
        return number
