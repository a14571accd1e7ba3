"""Counts of tasks by name and state; memory grows with the names, not with the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .._text import error_line, task_id_text
from ..errors import DependencyFailureError
from ..events import Event, TaskEvent
from ..model import TaskState

__all__ = ["FailureLine", "Row", "Tally"]

PENDING, READY, SUBMITTED = TaskState.PENDING, TaskState.READY, TaskState.SUBMITTED
RUNNING, DONE, FAILED = TaskState.RUNNING, TaskState.DONE, TaskState.FAILED

MAX_NAMES = 500
"""The most names that have a row of their own; further names share one."""

MAX_FAILURES = 20
"""The most failures that are described; further ones are only counted."""


class FailureLine(NamedTuple):
    """A task that failed, with its error in one line."""

    name: str
    task_id: int
    text: str

    @property
    def id(self) -> str:
        """The same as `TaskFuture.id`."""
        return task_id_text(self.task_id)


class Row:
    """The tasks of one name.

    Attributes:
        began, latest: the times of the first and of the latest event.
    """

    __slots__ = ("began", "cancelled", "done", "failed", "latest", "retried", "running", "total")

    def __init__(self, now: float) -> None:
        self.total = self.running = self.done = self.failed = self.cancelled = self.retried = 0
        self.began = self.latest = now

    @property
    def unfinished(self) -> int:
        return self.total - self.done - self.failed - self.cancelled

    @property
    def pending(self) -> int:
        return self.unfinished - self.running

    def elapsed(self, now: float) -> float:
        """Return the seconds from the first event to the last, or to *now* if tasks are left."""
        return (now if self.unfinished else self.latest) - self.began

    @classmethod
    def sum(cls, rows: Sequence[Row]) -> Row:
        """Add up *rows*, of which there is at least one."""
        result = cls(min(row.began for row in rows))
        result.latest = max(row.latest for row in rows)
        for row in rows:
            result.total += row.total
            result.running += row.running
            result.done += row.done
            result.failed += row.failed
            result.cancelled += row.cancelled
            result.retried += row.retried
        return result


class Tally:
    """The counts of all tasks of one or several engines.

    Attributes:
        rows: by name, in the order in which the names appeared.
        others: the row of all further names, if there are too many.
        skipped: the number of tasks that failed only because a dependency did.
        listed, unlisted: the number of failures that `take` described, and did not.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.others: Row | None = None
        self.skipped = 0
        self.listed = 0
        self.unlisted = 0

    def all(self) -> list[Row]:
        """Return every row."""
        return [*self.rows.values(), *([self.others] if self.others else [])]

    def begin(self, name: str, now: float, *, running: bool = False) -> None:
        """Count a task whose call was not observed."""
        row = self._row(name, now)
        row.total += 1
        row.running += running

    def take(self, events: Iterable[Event], running: set[int], now: float) -> list[FailureLine]:
        """Count *events* of one engine; *running* holds the ids of its running tasks.

        Returns:
            The failures to describe.  A task that failed because of a dependency is not
            among them, but the dependency is.
        """
        rows = self.rows
        failures: list[FailureLine] = []
        for event in events:
            if type(event) is not TaskEvent:
                continue
            state = event.state
            if state is SUBMITTED or (state is READY and event.error is None):
                continue
            row = rows.get(event.name) or self._row(event.name, now)
            row.latest = now
            task_id = event.task_id
            if state is PENDING:
                row.total += 1
                continue
            if state is RUNNING:
                if task_id not in running:
                    running.add(task_id)
                    row.running += 1
                continue
            if task_id in running:
                running.discard(task_id)
                row.running -= 1
            if state is DONE:
                row.done += 1
            elif state is READY:
                row.retried += 1
            elif state is FAILED:
                row.failed += 1
                self._fail(event, failures)
            else:
                row.cancelled += 1
        return failures

    def _row(self, name: str, now: float) -> Row:
        row = self.rows.get(name)
        if row is None and len(self.rows) < MAX_NAMES:
            row = self.rows[name] = Row(now)
        elif row is None:
            row = self.others = self.others or Row(now)
        return row

    def _fail(self, event: TaskEvent, failures: list[FailureLine]) -> None:
        error = event.error
        if isinstance(error, DependencyFailureError):
            self.skipped += 1
        elif self.listed < MAX_FAILURES:
            self.listed += 1
            text = "failed" if error is None else error_line(error)
            failures.append(FailureLine(event.name, event.task_id, text))
        else:
            self.unlisted += 1
