"""The pace of the garbage collector while very many tasks are alive.

A full collection looks at every object, and CPython starts one whenever a quarter more
have grown old.  With a million live tasks that is half of all the time: 0.4 s each,
seventeen times, to find nothing, because a waiting task is no garbage.  So while many
are alive, a full collection waits for as many new objects as are alive, several times
over: its cost is then a small constant for each of them.  Young garbage is collected
as ever, old garbage at the latest after some seven times the live objects, and the
threshold is put back as soon as the tasks are done.  A program that changes the
thresholds meanwhile, or turned the collector off, is left alone.
"""

from __future__ import annotations

import gc

__all__ = ["INTERVAL", "MANY", "PACE", "Pace"]

INTERVAL = 8192
"""After how many calls an engine says how many tasks are alive; a power of two."""

MANY = 20_000
"""Live tasks below which the collector is left as it is."""

_TASKS_PER_STEP = 1000
"""One unit of the third threshold (some 7,000 new objects) for so many live tasks."""


class Pace:
    """The third threshold of this process's collector, for all engines together."""

    __slots__ = ("_before", "_live", "_set")

    def __init__(self) -> None:
        self._live: dict[str, int] = {}
        self._before: tuple[int, int, int] | None = None
        self._set: tuple[int, int, int] | None = None

    def live(self, engine: str, count: int) -> None:
        """*engine* has *count* unfinished tasks now."""
        if count < MANY:
            if engine not in self._live:
                return
            del self._live[engine]
        else:
            self._live[engine] = count
        now = gc.get_threshold()
        if self._set is not None and now != self._set:
            self._before = self._set = None  # somebody else took over: theirs it is
            self._live.clear()
            return
        if not self._live:
            if self._before is not None:
                gc.set_threshold(*self._before)
            self._before = self._set = None
            return
        if self._before is None:
            if not now[0]:
                return  # turned off
            self._before = now
        first, second, third = self._before
        self._set = (first, second, max(third, sum(self._live.values()) // _TASKS_PER_STEP))
        gc.set_threshold(*self._set)


PACE = Pace()
