"""Counts of tasks by name and state; memory grows with the names, not with the tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..errors import DependencyFailureError
from ..events import Event, TaskEvent
from ..model import TaskKind, TaskState
from .failures import FailureLine, Failures
from .pace import FIRST_INTERVAL_S, Pace
from .watched import UnfinishedTask

__all__ = ["Present", "Row", "Tally"]

PENDING, READY, SUBMITTED = TaskState.PENDING, TaskState.READY, TaskState.SUBMITTED
RUNNING, DONE, FAILED = TaskState.RUNNING, TaskState.DONE, TaskState.FAILED
BLOCK = TaskKind.BLOCK

MAX_NAMES = 500
"""The most names that have a row of their own; further names share one."""

_SENT = ("", 0)
"""What is known of a task that its backend has, and that does not run."""

Present = dict[int, tuple[str, int]]
"""The tasks of one engine that were sent, with the backend and the cores of those that run."""


class Row:
    """The tasks of one name.

    Attributes:
        is_block: they are blocks, which only wait for the tasks that they call.
        done: tasks that are done, with those that *reused* an earlier result.
        began, latest: the times of the first and of the latest event.
        pace: how fast they end; reused ones do not count.
    """

    __slots__ = (
        "began",
        "cancelled",
        "done",
        "failed",
        "is_block",
        "latest",
        "pace",
        "retried",
        "reused",
        "running",
        "total",
    )

    def __init__(self, now: float, *, is_block: bool = False) -> None:
        self.total = self.running = self.done = self.reused = 0
        self.failed = self.cancelled = self.retried = 0
        self.is_block = is_block
        self.began = self.latest = now
        self.pace = Pace(now)

    @property
    def ended(self) -> int:
        return self.done + self.failed + self.cancelled

    @property
    def unfinished(self) -> int:
        return self.total - self.ended

    @property
    def pending(self) -> int:
        return self.unfinished - self.running

    def elapsed(self, now: float) -> float:
        """Return the seconds from the first event to the last, or to *now* if tasks are left."""
        return (now if self.unfinished else self.latest) - self.began

    def rate(self, now: float) -> float | None:
        """Return how many tasks end in a second; None if that is unknown."""
        at = now if self.unfinished else self.latest
        return self.pace.rate(at, self.ended - self.reused)

    def left(self, now: float) -> float | None:
        """Return the seconds that the unfinished tasks will take at this rate, if it is known."""
        rate = self.rate(now)
        return self.unfinished / rate if rate and self.unfinished else None

    @classmethod
    def sum(cls, rows: Sequence[Row]) -> Row:
        """Add up *rows*, of which there is at least one; the pace of the sum is unknown."""
        result = cls(min(row.began for row in rows))
        result.latest = max(row.latest for row in rows)
        for row in rows:
            for name in ("total", "running", "done", "reused", "failed", "cancelled", "retried"):
                setattr(result, name, getattr(result, name) + getattr(row, name))
        return result


class Tally:
    """The counts of all tasks of one or several engines.

    Attributes:
        rows: by name, in the order in which the names appeared.
        others: the row of all further names, if there are too many.
        skipped: the number of tasks that failed only because a dependency did.
        busy: the cores that running tasks occupy, by backend.
        failures: those that no other task caused, equal ones together.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.others: Row | None = None
        self.skipped = 0
        self.busy: Counter[str] = Counter()
        self.failures = Failures()
        self._pace: Pace | None = None
        self._next_note = 0.0

    def all(self) -> list[Row]:
        """Return every row."""
        return [*self.rows.values(), *([self.others] if self.others else [])]

    def total(self, now: float) -> Row:
        """Return the sum of all tasks that are no blocks; of the blocks, if there are only those.

        A block would count its tasks twice, and be the last that ends.
        """
        rows = self.all()
        working = [row for row in rows if not row.is_block] or rows
        if not working:
            return Row(now)
        total = Row.sum(working)
        if self._pace is not None:
            total.pace = self._pace
        return total

    def blocks(self) -> Row | None:
        """Return the sum of all blocks; None if there are none, or nothing else."""
        rows = self.all()
        blocks = [row for row in rows if row.is_block]
        return Row.sum(blocks) if blocks and len(blocks) < len(rows) else None

    def begin(self, task: UnfinishedTask, present: Present, now: float) -> None:
        """Count *task*, whose call was not observed."""
        row = self._row(task.name, now, task.is_block)
        row.total += 1
        if task.running:
            row.running += 1
            self._occupy(present, task.number, task.backend, task.cores)
        elif task.sent:
            present[task.number] = _SENT

    def take(self, events: Iterable[Event], present: Present, now: float) -> list[FailureLine]:
        """Count *events* of one engine, whose tasks *present* holds.

        Returns:
            The failures to describe.  A task that failed because of a dependency is not
            among them, but the dependency is.
        """
        rows = self.rows
        failures: list[FailureLine] = []
        for event in events:
            if type(event) is not TaskEvent:
                continue
            state, task_id = event.state, event.task_id
            if state is SUBMITTED:
                present[task_id] = _SENT
                continue
            if state is READY and event.error is None:
                continue
            row = rows.get(event.name) or self._row(event.name, now, event.kind is BLOCK)
            row.latest = now
            if state is PENDING:
                row.total += 1
                continue
            known = present.pop(task_id, None)
            if known is not None and known[1]:
                row.running -= 1
                self.busy[known[0]] -= known[1]
            if state is RUNNING:
                row.running += 1
                cores = 1 if event.resources is None else event.resources.total_cores
                self._occupy(present, task_id, event.backend, cores)
            elif state is DONE:
                row.done += 1
                if known is None and not row.is_block:
                    row.reused += 1  # it was never sent
            elif state is READY:
                row.retried += 1
            elif state is FAILED:
                row.failed += 1
                self._fail(event, failures)
            else:
                row.cancelled += 1
        self._note_pace(now)
        return failures

    def _occupy(self, present: Present, task_id: int, backend: str, cores: int) -> None:
        present[task_id] = (backend, cores)
        self.busy[backend] += cores

    def _note_pace(self, now: float) -> None:
        if now < self._next_note:
            return
        self._next_note = now + FIRST_INTERVAL_S
        ended = 0
        for row in self.all():
            row.pace.note(now, row.ended - row.reused)
            if not row.is_block:
                ended += row.ended - row.reused
        if self._pace is None:
            self._pace = Pace(now)
        self._pace.note(now, ended)

    def _row(self, name: str, now: float, is_block: bool) -> Row:
        row = self.rows.get(name)
        if row is None and len(self.rows) < MAX_NAMES:
            row = self.rows[name] = Row(now, is_block=is_block)
        elif row is None:
            row = self.others = self.others or Row(now)
        return row

    def _fail(self, event: TaskEvent, failures: list[FailureLine]) -> None:
        if isinstance(event.error, DependencyFailureError):
            self.skipped += 1
        elif (line := self.failures.take(event)) is not None:
            failures.append(line)
