"""Remember how long the calls of each function took."""

from __future__ import annotations

from collections import deque
from statistics import median_low
from weakref import WeakKeyDictionary

from radical.asyncflow.worker import Code

__all__ = ["Durations"]

_MAX_REMEMBERED = 31  # durations of one function; with fewer the estimate changes sooner


class Durations:
    """The last durations of each function; the estimate of a function is their median.

    A few calls may be slow for other reasons: a first call imports modules, and a busy
    machine holds some up.
    """

    def __init__(self) -> None:
        self._last: WeakKeyDictionary[Code, deque[float]] = WeakKeyDictionary()
        self._outdated: set[int] = set()  # the numbers of functions whose estimate is old

    def add(self, code: Code, seconds: float) -> None:
        """Remember that a call of *code* took *seconds*."""
        last = self._last.get(code)
        if last is None:
            # A function that was pickled anew takes over the estimate.
            known = () if code.seconds is None else (code.seconds,)
            last = self._last[code] = deque(known, maxlen=_MAX_REMEMBERED)
        last.append(seconds)
        self._outdated.add(code.number)
        if code.seconds is None:
            code.seconds = seconds

    def estimate(self, code: Code) -> float | None:
        """Return how long a call of *code* takes, and note it there; None if nobody knows."""
        if code.number in self._outdated:
            self._outdated.remove(code.number)
            code.seconds = median_low(self._last[code])
        return code.seconds
