"""The same model, filled from the events of an engine in this process."""

from __future__ import annotations

from collections.abc import Iterable
from math import isnan

from .._resume.lines import error_record
from ..events import BackendEvent, Event, RunEvent, TaskEvent
from ..journal import AttemptRecord, ErrorRecord, FunctionRecord
from ..model import TaskState
from ._run import LiveRun

__all__ = ["EventFeed"]

PENDING, READY, SUBMITTED = TaskState.PENDING, TaskState.READY, TaskState.SUBMITTED
RUNNING, FAILED = TaskState.RUNNING, TaskState.FAILED


class EventFeed:
    """The feeder of *run* with the events of its engine: give `take` to ``flow.observe``.

    Args:
        began: the time that counts as the beginning of the run, by `time.monotonic`.
        arguments: whether errors may show the command line that failed.
    """

    def __init__(self, run: LiveRun, began: float, *, arguments: bool = True) -> None:
        self.run = run
        self._began = began
        self._arguments = arguments
        self._functions: dict[tuple[str, str], int] = {}

    def take(self, events: Iterable[Event]) -> None:
        """Tell the model of *events*."""
        run, began = self.run, self._began
        for event in events:
            if type(event) is TaskEvent:
                self._take_task(event, event.time - began)
            elif type(event) is BackendEvent:
                time = event.time - began
                if event.state == "up":
                    run.backend_up(event.backend, "", time)
                else:
                    lost = "" if event.error is None else self._error(event.error).text
                    run.backend_down(event.backend, time, lost, event.moved)
            elif type(event) is RunEvent and event.state == "ended":
                run.end(event.time - began, event.outcome)
        run.trim()

    def begin(self, number: int, name: str, kind: str = "function", *, running: bool) -> None:
        """Take in a task that was called before anybody watched."""
        function = self._function(name, kind)
        self.run.called(number, 1, function, 0.0)
        if running:
            self.run.started(number, function, (None, None, None))

    def _take_task(self, event: TaskEvent, time: float) -> None:
        run, state, number = self.run, event.state, event.task_id
        function = self._function(event.name, event.kind.value)
        if state is PENDING:
            run.called(number, 1, function, time, event.depends_on, event.workflow_id)
        elif state is SUBMITTED:
            run.sent(event.backend, (number,), time)
        elif state is RUNNING:
            run.started(
                number,
                function,
                (None, None, time),
                attempt=event.attempt,
                backend=event.backend,
                worker=event.worker,
            )
        elif state is READY and event.error is None:
            run.ready(number, time)
        elif state is READY:
            assert event.error is not None
            started = run.columns.started[number] if run.state_of(number) else time
            run.attempt_failed(
                number,
                function,
                AttemptRecord(
                    event.attempt - 1,
                    None if isnan(started) else started,
                    time,
                    event.worker,
                    self._error(event.error),
                ),
            )
        else:
            run.task_ended(
                number,
                function,
                state.name,
                (None, None, None, time),
                attempt=event.attempt,
                backend=event.backend,
                worker=event.worker,
            )
            if state is FAILED:
                error = None if event.error is None else self._error(event.error)
                run.describe_failure(number, error)

    def _error(self, error: BaseException) -> ErrorRecord:
        return error_record(error, arguments=self._arguments)

    def _function(self, name: str, kind: str) -> int:
        number = self._functions.get((name, kind))
        if number is None:
            number = self._functions[name, kind] = len(self._functions) + 1
            self.run.function(FunctionRecord(number, name, kind, ""))
        return number
