"""The pace of the garbage collector while very many tasks are alive.

A full collection looks at every object, and CPython starts one whenever the number of old
objects has grown by a quarter.  With a million live tasks this takes half of all the time:
seventeen collections of 0.4 s each, which find nothing, because a waiting task is not
garbage.  So while many tasks are alive, a full collection waits until several times as many
new objects were made as are alive; its cost is then a small constant for each object.  Young
garbage is collected as before, and old garbage after at most some seven times the live
objects.  The threshold is put back as soon as the tasks are done.  A program that changes the
thresholds meanwhile, or that turned the collector off, is left alone.
"""

from __future__ import annotations

import gc

__all__ = ["CALLS_A_COUNT", "COLLECTOR_PACE", "MANY_TASKS", "CollectorPace"]

CALLS_A_COUNT = 8192
"""The number of calls after which an engine counts its live tasks; a power of two."""

MANY_TASKS = 20_000
"""The number of live tasks from which on the threshold is raised."""

_TASKS_A_STEP = 1000
"""Live tasks for each unit of the third threshold, which is some 7,000 new objects."""


class CollectorPace:
    """The third threshold of this process's collector, for all engines together."""

    __slots__ = ("_before", "_live", "_set")

    def __init__(self) -> None:
        self._live: dict[int, int] = {}
        self._before: tuple[int, int, int] | None = None
        self._set: tuple[int, int, int] | None = None

    def set_live(self, run: int, count: int) -> None:
        """Note that the run of this `id` has *count* unfinished tasks, and adapt the threshold."""
        if count < MANY_TASKS:
            if run not in self._live:
                return
            del self._live[run]
        else:
            self._live[run] = count
        now = gc.get_threshold()
        if self._set is not None and now != self._set:
            self._before = self._set = None  # the program changed it: leave it alone
            self._live.clear()
            return
        if not self._live:
            if self._before is not None:
                gc.set_threshold(*self._before)
            self._before = self._set = None
            return
        if self._before is None:
            if not now[0]:
                return  # the program turned the collector off
            self._before = now
        first, second, third = self._before
        self._set = (first, second, max(third, sum(self._live.values()) // _TASKS_A_STEP))
        gc.set_threshold(*self._set)


COLLECTOR_PACE = CollectorPace()
