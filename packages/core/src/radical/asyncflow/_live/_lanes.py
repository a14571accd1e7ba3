"""The lane of each attempt while it is not known which others follow."""

from __future__ import annotations

from bisect import bisect_right, insort

__all__ = ["Lanes"]

SAME_S = 1e-6
"""Seconds by which two attempts on one lane may overlap, because times are rounded."""


class Lanes:
    """Lanes by backend and worker, so that on none of them an attempt overlaps another.

    What ends is taken in the order of the ends, and gets the lane that was free for the
    shortest time: so there are never more lanes than attempts at the same time.

    Attributes:
        listed: the place of the backend, that of the worker, and the number of the lane
            among those of its worker.
    """

    __slots__ = ("_free", "_many", "listed")

    def __init__(self) -> None:
        self._free: dict[tuple[int, int], list[tuple[float, int]]] = {}
        self._many: dict[tuple[int, int], int] = {}
        self.listed: list[tuple[int, int, int]] = []

    def take(self, backend: int, worker: int, start: float) -> int:
        """Return the lane for an attempt that began at *start*; it is busy until `give`."""
        key = backend, worker
        free = self._free.get(key)
        if free is None:
            free = self._free[key] = []
            self._many[key] = 0
        place = bisect_right(free, (start + SAME_S, 1 << 62))
        if place:
            return free.pop(place - 1)[1]
        self.listed.append((backend, worker, self._many[key]))
        self._many[key] += 1
        return len(self.listed) - 1

    def give(self, lane: int, end: float) -> None:
        """Say that the attempt on *lane* ended at *end*."""
        backend, worker, _ = self.listed[lane]
        insort(self._free[backend, worker], (end, lane))
