"""The number of tasks that end each second."""

from __future__ import annotations

from collections import deque

__all__ = ["Rate"]

WINDOW_S = 30.0
"""Seconds for which the rate is the mean."""

STEP_S = 0.5
"""Seconds between two counts that are kept."""


class Rate:
    """Counts of what ended, with their times; *began* is the time of the first beginning."""

    __slots__ = ("_counts", "_last")

    def __init__(self, began: float) -> None:
        self._counts: deque[tuple[float, int]] = deque([(began, 0)])
        self._last = (began, 0)

    def add(self, time: float, count: int) -> None:
        """Note that *count* ended up to *time*."""
        self._last = (time, count)
        if time - self._counts[-1][0] >= STEP_S:
            self._counts.append((time, count))
            while len(self._counts) > 2 and self._counts[1][0] <= time - WINDOW_S:
                self._counts.popleft()

    def at(self, now: float) -> float:
        """Return how many end a second, as the last half minute before *now* says."""
        begin = now - WINDOW_S
        time, count = self._counts[0]
        for place in range(1, len(self._counts)):
            if self._counts[place][0] > begin:
                break
            time, count = self._counts[place]
        lasted = min(now - time, WINDOW_S)
        ended = self._last[1] - count
        return ended / lasted if lasted > 0 and ended > 0 else 0.0
