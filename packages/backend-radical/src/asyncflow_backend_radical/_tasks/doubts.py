"""Ends of tasks that the end of the pilot may explain, until it is clear whether it does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from .._host.messages import TaskChange

__all__ = ["Doubts"]

_DOUBT_S = 35.0  # RADICAL-Pilot asks the batch system every 30 s whether a job is gone


class Doubts:
    """Changes that are held back for a while.

    A batch system that ends a job first ends what runs in it, and RADICAL-Pilot learns of
    the job itself only when it asks the next time.  So a task that a signal ended may be the
    first sign of a lost pilot.
    """

    def __init__(self, release: Callable[[Sequence[TaskChange]], None]) -> None:
        """Hold nothing yet; *release* gets what was held long enough, in a thread of its own."""
        self._release = release
        self._timers: list[threading.Timer] = []

    def hold(self, changes: Sequence[TaskChange]) -> None:
        """Release *changes* after a while, unless `close` is called before."""
        timer = threading.Timer(_DOUBT_S, self._release, [changes])
        timer.daemon = True
        self._timers = [each for each in self._timers if each.is_alive()]
        self._timers.append(timer)
        timer.start()

    def close(self) -> None:
        """Drop what is held, and wait for a release that has begun."""
        timers, self._timers = self._timers, []
        for timer in timers:
            timer.cancel()
            if timer is not threading.current_thread():
                timer.join()
