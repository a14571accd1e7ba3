"""The contents of a display: sums of tasks by name, and their failures.

Memory grows with the names, not with the tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..events import Event, TaskEvent
from .census import COLUMNS, MAX_NAMES, Census, Counts, Share
from .failures import FailureLine, Failures
from .pace import FIRST_INTERVAL_S, Pace

__all__ = ["Row", "Tally"]


class Row:
    """The tasks of one name.

    Attributes:
        is_block: they are blocks, which only wait for the tasks that they call.
        done: tasks that are done, with those that *reused* an earlier result.
        began, latest: the times of the first call and of the latest change.
        pace: how fast they end; reused ones do not count.
        is_open: of some tasks nobody knows how long they take, as none like them has ended.
    """

    __slots__ = (
        "began",
        "cancelled",
        "done",
        "failed",
        "is_block",
        "is_open",
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
        self.is_open = False
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
        """Return the seconds from the first call to the last change; to *now* if tasks are left."""
        return (now if self.unfinished else self.latest) - self.began

    def rate(self, now: float) -> float | None:
        """Return how many tasks end in a second; None if that is unknown."""
        at = now if self.unfinished else self.latest
        return self.pace.rate(at, self.ended - self.reused)

    def left(self, now: float) -> float | None:
        """Return the seconds that the unfinished tasks will take at this rate, if it is known."""
        rate = None if self.is_open else self.rate(now)
        return self.unfinished / rate if rate and self.unfinished else None

    @classmethod
    def sum(cls, rows: Sequence[Row]) -> Row:
        """Add up *rows*, of which there is at least one; the pace of the sum is unknown."""
        result = cls(min(row.began for row in rows))
        result.latest = max(row.latest for row in rows)
        for row in rows:
            for name in COLUMNS:
                setattr(result, name, getattr(result, name) + getattr(row, name))
        return result


class Tally:
    """The counts of all tasks of one or several engines.

    Attributes:
        rows: by name, in the order in which the names appeared.
        others: the row of all further names, if there are too many.
        busy: the cores that running tasks occupy, by backend.
        failures: those that no other task caused, equal ones together.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.others: Row | None = None
        self._shares: list[Share] = []
        self._shown: dict[Row, list[int]] = {}
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
        total.is_open = any(row.unfinished and row.rate(now) is None for row in working)
        if self._pace is not None:
            total.pace = self._pace
        return total

    def blocks(self) -> Row | None:
        """Return the sum of all blocks; None if there are none, or nothing else."""
        rows = self.all()
        blocks = [row for row in rows if row.is_block]
        return Row.sum(blocks) if blocks and len(blocks) < len(rows) else None

    @property
    def skipped(self) -> int:
        """The number of tasks that failed only because a dependency did."""
        return sum(share.skipped for share in self._shares)

    def join(self, census: Census) -> Share:
        """Show what *census* counts from now on, and return what that is."""
        share = Share(census)
        self._shares.append(share)
        return share

    def take(self, events: Iterable[Event]) -> list[FailureLine]:
        """Take in the failures among *events*, and return those to describe."""
        failed = (event for event in events if type(event) is TaskEvent)
        return [line for event in failed if (line := self.failures.take(event)) is not None]

    def look(self, now: float) -> None:
        """Read what was counted."""
        sums: dict[Row, list[int]] = {}
        busy: Counter[str] = Counter()
        unfinished = False
        for share in self._shares:
            share.census.changed = False  # what comes from now on may be missed here
            for counts, values in share.all():
                row = self._row(counts, share)
                found = sums.setdefault(row, [0] * len(values))
                for place, value in enumerate(values):
                    found[place] += value
                busy[counts.backend] += values[-1] * counts.cores
        for row, found in sums.items():
            for name, value in zip(COLUMNS, found, strict=True):
                setattr(row, name, value)
            unfinished = unfinished or row.unfinished > 0
        idle_at = max((share.census.idle_at for share in self._shares), default=now)
        if any(share.census.since > share.census.idle_at for share in self._shares):
            idle_at = now  # an orderly stop ended the last tasks, not a turn of the dispatcher
        for row, found in sums.items():
            if found != self._shown.get(row):
                row.latest = max(row.began, now if unfinished else min(now, idle_at))
        self._shown = sums
        self.busy = busy
        self._note_pace(now)

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

    def _row(self, counts: Counts, share: Share) -> Row:
        name = counts.name
        row = self.others if name is None else self.rows.get(name)
        if row is None:
            began = max(counts.began, share.joined, share.census.since)
            if name is not None and len(self.rows) < MAX_NAMES:
                row = self.rows[name] = Row(began, is_block=counts.is_block)
            else:
                row = self.others = self.others or Row(began)
        return row
