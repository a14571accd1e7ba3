"""The course of a run as plain lines, for the log of a batch job.

A run has a line when it begins and for each backend, then one each half minute, or when another
tenth of the tasks has ended, two for each failure, and a few at its end.  Long runs have the
lines less often: each after a sixtieth of the time that has passed.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar
from weakref import WeakSet

from .._text import count, duration, error_line, printable
from ..events import BackendEvent, Event, RunEvent, ServiceEvent
from .census import Census, Share
from .closing import counts, logs_command, next_steps, took
from .failures import FailureLine
from .feed import Feed
from .pace import busy_text, percent, rate_text
from .tally import Tally
from .watched import Watched, capacity_of

__all__ = ["Lines"]

INTERVAL_S = 30.0
"""The most seconds between two lines of a run that has just begun."""

MIN_INTERVAL_S = 2.0
"""The least seconds between two lines that say how far the run is."""

LOOK_S = 0.5
"""Seconds from a first change to the look at it, and between two looks of a short run."""

SHARE_OF_LOOKS = 1 / 500
"""The share of the time so far that passes between two looks of a long run."""

SHORTEST_WAIT_S = 0.1
"""The least seconds to wait, because a timer may come a little early."""

STEPS = 10
"""A line comes whenever another one of so many equal parts of the tasks has ended."""

SHARE_OF_TIME = 1 / 60
"""The share of the time so far that passes between two lines of a long run."""


class Lines:
    """The lines of *engine* on *stream*, by default stderr.

    A stream that cannot be written any more is left alone: nobody is there to be told.
    """

    _engines: ClassVar[WeakSet[Watched]] = WeakSet()
    _announced: ClassVar[WeakSet[Watched]] = WeakSet()

    def __init__(self, engine: Watched, stream: Any = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._lock = threading.Lock()
        self._tally = Tally()
        self._engine: Watched | None = engine
        self._uid = engine.uid
        self._journal: str | None = None
        self._began = self._last = time.monotonic()
        self._steps = 0
        self._ended = False

    @classmethod
    def announce(cls, engine: Watched) -> None:
        """Write that the run of *engine* begins, and where its record is."""
        cls._announced.add(engine)
        journal = engine._journal_path
        where = f"its record: {journal}" if journal else "no record is kept (--journal keeps one)"
        cls(engine)._write(f"run {engine.uid} begins on {time.strftime('%Y-%m-%d')}; {where}")

    @classmethod
    def watch(cls, engine: Watched) -> Callable[[], None]:
        """Write the lines of *engine*, unless somebody does already.

        Returns:
            The function that ends this.
        """
        if engine in cls._engines:
            return lambda: None
        cls._engines.add(engine)
        if engine not in cls._announced:
            cls.announce(engine)
        lines = cls(engine)
        lines._journal = engine._journal_path
        for name, backend in engine.backends.items():
            lines._tell_up(name, backend)
        feed = Feed(lines, engine)

        def stop() -> None:
            feed.stop()
            lines._end("")
            cls._engines.discard(engine)

        return stop

    def join(self, census: Census) -> Share:
        """Tell what *census* counts from now on, and return what that is."""
        return self._tally.join(census)

    def take(self, events: Sequence[Event]) -> float | None:
        """Write what *events* are worth, and return when to call `draw`."""
        now = time.monotonic()
        for failure in self._tally.take(events):
            self._write(*self._failure(failure))
        for event in events:
            if type(event) is BackendEvent or type(event) is ServiceEvent:
                self._tell(event)
            elif type(event) is RunEvent and event.state == "ended":
                self._end(event.outcome)
        return self._look(now)

    def wait(self) -> float:
        """Return in how many seconds to look, because something has changed."""
        return LOOK_S

    def draw(self) -> float | None:
        """Write how far the run is, if it is time, and return when to call this again."""
        return self._look(time.monotonic())

    def _look(self, now: float) -> float | None:
        if self._ended:
            return None
        self._tally.look(now)
        total = self._tally.total(now)
        if not total.unfinished:
            return None
        next_look = max(LOOK_S, (now - self._began) * SHARE_OF_LOOKS)
        since = now - self._last
        interval = max(INTERVAL_S, (self._last - self._began) * SHARE_OF_TIME)
        step = STEPS * total.ended // total.total
        if since >= interval or (step > self._steps and since >= MIN_INTERVAL_S):
            self._steps = max(step, self._steps)
            self._last = now
            self._write(self._progress(now))
            return next_look
        wait = min(interval, MIN_INTERVAL_S) if step > self._steps else interval
        return max(min(wait - since, next_look), SHORTEST_WAIT_S)

    def _progress(self, now: float) -> str:
        total = self._tally.total(now)
        left = total.left(now)
        parts = [text for text, _ in counts(self._tally, now) if "unfinished" not in text]
        parts.append(f"{total.running:,} running{self._busy()}")
        parts.append(f"{total.pending:,} waiting")
        share = percent(total.ended, total.total)
        text = f"{share:>5} of {count(total.total, 'task')}: {', '.join(parts)}"
        if (rate := total.rate(now)) is not None:
            text += f"; {rate_text(rate)}"
        if left is not None:
            text += f", about {duration(left)} left"
        return text

    def _busy(self) -> str:
        engine = self._engine
        backends = {} if engine is None else engine.backends
        words = [
            f"{printable(name)} {busy_text(self._tally.busy[name], most)} slots"
            for name, backend in backends.items()
            if (most := capacity_of(backend)) is not None
        ]
        return f" ({', '.join(words)})" if words else ""

    def _failure(self, failure: FailureLine) -> Iterator[str]:
        yield f"failed: {failure.id} {printable(failure.name)}: {failure.text}"
        where = ""
        if self._journal is not None:
            where = f"its output: {logs_command(self._uid, self._journal, failure.task_id)}"
        if more := "; ".join(filter(None, (failure.detail, where))):
            yield f"  {more}"

    def _tell(self, event: BackendEvent | ServiceEvent) -> None:
        if isinstance(event, BackendEvent):
            if event.state == "up" and self._engine is not None:
                self._tell_up(event.backend, self._engine.backends.get(event.backend))
            elif event.error is not None:
                moved = f"; {event.moved:,} tasks go on elsewhere" if event.moved else ""
                reason = error_line(event.error)
                self._write(f"backend {printable(event.backend)} was lost: {reason}{moved}")
            return
        reason = "" if event.error is None else f": {error_line(event.error)}"
        how = {"up": "is up", "stopped": "was stopped", "restarted": "is started again"}
        self._write(f"service {printable(event.name)} {how.get(event.state, 'was lost')}{reason}")

    def _tell_up(self, name: str, backend: Any) -> None:
        most = capacity_of(backend)
        slots = "" if most is None else f" with {most:,} {'slot' if most == 1 else 'slots'}"
        self._write(f"backend {printable(name)} is up{slots}")

    def _end(self, outcome: str) -> None:
        """Write the summary, once."""
        if self._ended:
            return
        self._ended = True
        tally, now = self._tally, time.monotonic()
        tally.look(now)
        self._engine = None
        how = f"run {self._uid} so far"
        if outcome:
            how = f"run {self._uid} ends" + ("" if outcome == "done" else f", {outcome}")
        parts = ", ".join(text for text, _ in counts(tally, now))
        lines = [f"{how}: {parts} in {took(tally, now)}"]
        lines += [
            f"  {many:,} times {printable(name)}: {error}"
            for name, error, many in tally.failures.largest()
        ]
        lines += [
            f"  {purpose}: {command}"
            for purpose, command in next_steps(tally, self._uid, self._journal, outcome, now)
        ]
        self._write(*lines)

    def _write(self, *lines: str) -> None:
        stamp = time.strftime("%H:%M:%S")
        text = "".join(f"{stamp} {line}\n" for line in lines)
        try:
            with self._lock:
                self._stream.write(text)
                self._stream.flush()
        except (OSError, ValueError):  # a full disk, a reader that has gone, a closed stream
            return
