"""One row for each task, in columns of plain numbers: some 70 bytes for a task."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import nan

__all__ = ["UNKNOWN", "Changes", "Columns"]

UNKNOWN = 255
"""The state of a number whose task was not heard of."""

GROWTH = 1 << 12
"""Rows that are added at once."""

MAX_GAP = 1 << 24
"""The most numbers between two tasks that are believed."""


def _places() -> array[int]:
    return array("i")


def _offsets() -> array[int]:
    return array("q")


def _times() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Columns:
    """The columns, by the number of the task.

    Times are seconds since the run began, nan if unknown.  Other columns hold places in lists
    of the model, -1 for none.

    Attributes:
        size: one more than the largest number.
        offset: where the last line of the task begins in the journal; -1 if nobody knows.
    """

    size: int = 1
    state: bytearray = field(default_factory=bytearray)
    function: array[int] = field(default_factory=_places)
    backend: array[int] = field(default_factory=_places)
    worker: array[int] = field(default_factory=_places)
    workflow: array[int] = field(default_factory=_places)
    lane: array[int] = field(default_factory=_places)
    cause: array[int] = field(default_factory=_places)
    attempt: array[int] = field(default_factory=_places)
    offset: array[int] = field(default_factory=_offsets)
    added: array[float] = field(default_factory=_times)
    ready: array[float] = field(default_factory=_times)
    started: array[float] = field(default_factory=_times)
    ended: array[float] = field(default_factory=_times)
    # What a task waits for: its column says where, and there stand how many they are and they.
    _after: array[int] = field(default_factory=_offsets)
    _links: array[int] = field(default_factory=_places)

    def reach(self, number: int) -> None:
        """Make sure that there is a row for *number*.

        Raises:
            ValueError: it is no number of a task.
        """
        if number < self.size:
            if number < 0:
                raise ValueError(f"a task has the number {number}")
            return
        if number - self.size > MAX_GAP:
            raise ValueError(f"task {number} follows task {self.size - 1}")
        self.size = number + 1
        missing = self.size - len(self.state)
        if missing > 0:
            more = max(missing, GROWTH, len(self.state) // 8)
            self.state += b"\xff" * more
            for column in (
                self.function,
                self.backend,
                self.worker,
                self.workflow,
                self.lane,
                self.cause,
            ):
                column.extend(array("i", [-1]) * more)
            self.attempt.extend(array("i", [1]) * more)
            for places in (self.offset, self._after):
                places.extend(array("q", [-1]) * more)
            for times in (self.added, self.ready, self.started, self.ended):
                times.extend(array("d", [nan]) * more)

    def set_after(self, number: int, after: Sequence[int]) -> None:
        """Note the tasks that *number* waits for, unless they are known."""
        if after and self._after[number] < 0:
            self._after[number] = len(self._links)
            self._links.append(len(after))
            self._links.extend(after)

    def after(self, number: int) -> tuple[int, ...]:
        """Return the numbers of the tasks that *number* waits or waited for."""
        place = self._after[number]
        if place < 0:
            return ()
        return tuple(self._links[place + 1 : place + 1 + self._links[place]])


class Changes:
    """The numbers of the tasks that changed, in the order of the changes, as far as kept.

    Attributes:
        cursor: the number of changes so far.
    """

    __slots__ = ("_first", "_kept", "_numbers", "cursor")

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._first = 0
        self._numbers = array("q")
        self.cursor = 0

    def add(self, number: int) -> None:
        """Note that *number* changed."""
        self._numbers.append(number)
        self.cursor += 1

    def extend(self, numbers: Iterable[int]) -> None:
        """Note that *numbers* changed."""
        self._numbers.extend(numbers)
        self.cursor = self._first + len(self._numbers)

    def trim(self) -> None:
        """Forget the oldest changes, if there are too many."""
        if len(self._numbers) > 2 * self._kept:
            dropped = len(self._numbers) - self._kept
            del self._numbers[:dropped]
            self._first += dropped

    def since(self, cursor: int) -> Sequence[int] | None:
        """Return what changed after *cursor*, each number once; None if nobody remembers."""
        if not self._first <= cursor <= self.cursor:
            return None
        return sorted(set(self._numbers[cursor - self._first :]))
