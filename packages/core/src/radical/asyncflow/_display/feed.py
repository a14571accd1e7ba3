"""The events of one engine on their way to what shows them, and the timer of the next drawing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

from ..events import Event
from .tally import Present
from .watched import UnfinishedTask, Watched

__all__ = ["Feed", "Screen"]


class Screen(Protocol):
    """Whatever shows the events of engines."""

    def begin(self, task: UnfinishedTask, present: Present) -> None:
        """Count a task that was called before the display was there."""

    def take(self, events: Sequence[Event], present: Present) -> float | None:
        """Count *events*, and draw if it is time.

        Returns:
            In how many seconds to call `draw`; None if that is not needed.
        """

    def draw(self) -> float | None:
        """Draw the counts, and return the same as `take`."""


class Feed:
    """The events of *engine* for *screen*, from now to `stop`."""

    def __init__(self, screen: Screen, engine: Watched) -> None:
        self._screen = screen
        self._loop = engine._loop
        self._timer: asyncio.TimerHandle | None = None
        self._present: Present = {}
        # The states below already include events that observers have not been told yet.
        engine._deliver_events()
        for task in engine._unfinished_tasks():
            screen.begin(task, self._present)
        self._unobserve = engine.observe(self._take)

    def stop(self) -> None:
        """Count the last events, and stop drawing."""
        self._unobserve()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._screen.draw()

    def draw_soon(self, wait: float) -> None:
        """Draw in *wait* seconds, if the loop runs then; any thread may call this."""
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._schedule, wait)

    def _take(self, events: Sequence[Event]) -> None:
        self._schedule(self._screen.take(events, self._present))

    def _tick(self) -> None:
        self._timer = None
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
