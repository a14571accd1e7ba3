"""The rate at which tasks end, from a few samples of their number."""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["FIRST_INTERVAL_S", "Pace", "busy_text", "percent", "rate_text"]

MAX_SAMPLES = 64
"""Samples that are kept; beyond that, every other one is dropped, and they come half as often."""

FIRST_INTERVAL_S = 0.25
"""The least seconds between two samples of a run that has just begun."""

MIN_WINDOW_S = 10.0
"""The least seconds over which a rate is measured; later it is the last quarter of the run."""


class Pace:
    """The number of tasks that have ended, over time; its size is bounded."""

    __slots__ = ("_counts", "_interval", "_times")

    def __init__(self, now: float) -> None:
        self._times = [now]
        self._counts = [0]
        self._interval = FIRST_INTERVAL_S

    def note(self, now: float, count: int) -> None:
        """Note that *count* tasks have ended by *now*, unless that was noted just before."""
        times = self._times
        if now - times[-1] < self._interval:
            return
        times.append(now)
        self._counts.append(count)
        if len(times) > MAX_SAMPLES:
            del times[1::2], self._counts[1::2]
            self._interval *= 2

    def rate(self, now: float, count: int) -> float | None:
        """Return how many tasks end in a second, now that *count* have; None if that is unknown.

        The rate is that of the last part of the run or, if nothing ended in it, of the whole.
        """
        began = self._times[0]
        window = max(MIN_WINDOW_S, (now - began) / 4)
        place = max(bisect_right(self._times, now - window) - 1, 0)
        for start in (place, 0):
            took, ended = now - self._times[start], count - self._counts[start]
            if took > 0 and ended > 0:
                return ended / took
        return None


def rate_text(rate: float | None) -> str:
    """Return *rate*, tasks in a second, in the unit that fits it: ``12/s``, ``4.5/min``, ``2/h``.

    A rate that is unknown is ``-``.
    """
    if rate is None:
        return "-"
    for factor, unit in ((1, "s"), (60, "min"), (3600, "h")):
        value = rate * factor
        if value >= 0.9995 or unit == "h":
            break
    return f"{value:,.0f}/{unit}" if value >= 99.5 else f"{value:.3g}/{unit}"


def percent(part: int, whole: int) -> str:
    """Return *part* of *whole* in whole per cent; 100 % only if it is all of it."""
    return f"{100 * part // whole if whole else 0} %"


def busy_text(busy: int, most: int | None) -> str:
    """Return how many of the slots of a backend are busy, such as ``3 of 8``."""
    # A task that follows another one on its slot may be seen to begin before that ends.
    return f"{busy:,}" if most is None else f"{min(busy, most):,} of {most:,}"
