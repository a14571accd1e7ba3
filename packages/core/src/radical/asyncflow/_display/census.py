"""The counts that an engine keeps for its displays, which read them when they draw.

Events cost some microseconds for each task, however seldom somebody looks.  A few sums cost a
tenth of that, so only what is rare, such as a failure, reaches a display as an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

__all__ = ["COLUMNS", "MAX_NAMES", "Census", "Counts", "Share"]

MAX_NAMES = 500
"""The most names that are counted apart; the tasks of further names are counted together."""

COLUMNS = ("total", "done", "reused", "failed", "cancelled", "retried", "running")
"""The sums in the order of `Counts.sums`."""


class Counts:
    """The sums of the tasks that have one name, backend and number of cores.

    Those that were tried again elsewhere may begin in one of these and end in another.

    Attributes:
        name: None for the tasks beyond `MAX_NAMES` names.
        backend: ``""`` for blocks, which run in the program.
        began: the time of the first call.
        done: the tasks that are done, with those that *reused* an earlier result.
        writing: those of *running* whose work is done, and whose record is being written.
    """

    __slots__ = ("backend", "began", "cores", "is_block", "name", "writing", *COLUMNS)

    def __init__(self, name: str | None, is_block: bool, backend: str, cores: int) -> None:
        self.name = name
        self.is_block = is_block
        self.backend = backend
        self.cores = cores
        self.clear()

    def clear(self) -> None:
        """Begin again with nothing."""
        self.began = monotonic()
        self.total = self.done = self.reused = self.failed = self.cancelled = 0
        self.retried = self.running = self.writing = 0

    @property
    def sums(self) -> tuple[int, ...]:
        """The sums, as `COLUMNS` names them; what is being written counts as done."""
        writing = min(self.writing, self.running)
        return (
            *(self.total, self.done + writing, self.reused, self.failed, self.cancelled),
            *(self.retried, self.running - writing),
        )

    @property
    def ended(self) -> tuple[int, ...]:
        """The sums of the tasks that have ended, as `COLUMNS` names them."""
        ended = self.done + self.failed + self.cancelled
        return ended, self.done, self.reused, self.failed, self.cancelled, self.retried, 0


class Census:
    """The counts of one engine, which its loop keeps up to date while anybody reads them.

    Any thread may read.

    Attributes:
        take_reports: takes in what backends have reported; it does nothing in other threads.
        skipped: the number of tasks that failed only because a dependency did.
        changed: True if something was counted since somebody last looked; *since* then.
        idle_at: when no task was unfinished for the last time.
    """

    def __init__(self, take_reports: Callable[[], None]) -> None:
        self.take_reports = take_reports
        self.skipped = 0
        self.changed = False
        self.since = self.idle_at = monotonic()
        self.readers: list[Callable[[], None]] = []
        self._counts: dict[tuple[str | None, bool, str, int], Counts] = {}
        self._names: set[str] = set()

    def clear(self) -> None:
        """Begin again with nothing; each `Counts` that was handed out goes on to count."""
        self.skipped = 0
        for counts in self.all():
            counts.clear()

    def find(self, name: str, is_block: bool, backend: str, cores: int) -> Counts:
        """Return what counts the tasks with this name, backend and number of cores."""
        known: str | None = name
        if name not in self._names:
            if len(self._names) < MAX_NAMES:
                self._names.add(name)
            else:
                known, is_block = None, False
        key = (known, is_block, backend, cores)
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = Counts(*key)
        return counts

    def all(self) -> list[Counts]:
        """Return all counts."""
        return [*self._counts.values()]

    def note_change(self) -> None:
        """Tell the readers that something was counted, as the first thing since they looked."""
        self.changed = True
        self.since = monotonic()
        for reader in self.readers:
            reader()


class Share:
    """The part of a census that one display shows: the tasks unfinished when it came, and later."""

    def __init__(self, census: Census) -> None:
        self.census = census
        self.joined = monotonic()
        self._before = {counts: counts.ended for counts in census.all()}
        self._skipped_before = census.skipped
        self._final: list[tuple[Counts, tuple[int, ...]]] | None = None
        self._skipped = 0

    @property
    def skipped(self) -> int:
        """The tasks that failed only because a dependency did."""
        if self._final is not None:
            return self._skipped
        return self.census.skipped - self._skipped_before

    def all(self) -> Iterator[tuple[Counts, tuple[int, ...]]]:
        """Yield the counts, each with its sums since the display came."""
        if self._final is not None:
            yield from self._final
            return
        for counts in self.census.all():
            before = self._before.get(counts)
            sums = counts.sums
            if before is not None:
                sums = tuple(now - then for now, then in zip(sums, before, strict=True))
            if any(sums):
                yield counts, sums

    def freeze(self) -> None:
        """Keep what there is now, because others may go on to count."""
        if self._final is None:
            self._skipped = self.skipped
            self._final = [*self.all()]
