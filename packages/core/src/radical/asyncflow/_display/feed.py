"""The way from one engine to what shows its tasks, and the timer of the next drawing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

from ..events import Event
from .census import Census, Share
from .watched import Watched

__all__ = ["Feed", "Screen"]


class Screen(Protocol):
    """Whatever shows the tasks of engines."""

    def join(self, census: Census) -> Share:
        """Show what *census* counts from now on, and return what that is."""

    def take(self, events: Sequence[Event]) -> float | None:
        """Show *events*, which are rare.

        Returns:
            In how many seconds to call `draw`; None if that is not needed.
        """

    def draw(self) -> float | None:
        """Draw the counts, and return the same as `take`."""

    def wait(self) -> float:
        """Return in how many seconds to call `draw`, because something has changed."""


class Feed:
    """The tasks of *engine* for *screen*, from now to `stop`."""

    def __init__(self, screen: Screen, engine: Watched) -> None:
        self._screen = screen
        self._loop = engine._loop
        self._timer: asyncio.TimerHandle | None = None
        self._census, self._end = engine._count(self._take, self._changed)
        self._share = screen.join(self._census)
        if any(counts.total for counts in self._census.all()):
            self._changed()

    def stop(self) -> None:
        """Count the last tasks, and stop drawing."""
        self._census.take_reports()
        self._end()
        self._share.freeze()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._screen.draw()

    def draw_soon(self, wait: float) -> None:
        """Draw in *wait* seconds, if the loop runs then; any thread may call this."""
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._schedule, wait)

    def _changed(self) -> None:
        self._schedule(self._screen.wait())

    def _take(self, events: Sequence[Event]) -> None:
        self._schedule(self._screen.take(events))

    def _tick(self) -> None:
        self._timer = None
        self._census.take_reports()
        self._schedule(self._screen.draw())

    def _schedule(self, wait: float | None) -> None:
        if wait is None or self._loop.is_closed():
            return
        when = self._loop.time() + wait
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)
