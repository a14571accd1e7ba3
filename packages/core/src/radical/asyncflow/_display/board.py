"""The live table of a run on a terminal: one table, however many engines there are.

It is drawn when something has changed, at most eight times a second, and once a second while tasks
are unfinished, so that the clock goes on.  While nothing is unfinished it is not drawn.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakSet, ref

from .._text import error_line, printable, shorten_middle
from ..events import BackendEvent, Event, RunEvent, ServiceEvent
from ..worker._taps import follow_output
from .census import Census, Share
from .closing import counts, logs_command, next_steps, took
from .failures import FailureLine
from .feed import Feed
from .region import Region
from .tally import Tally
from .watched import Watched, capacity_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from .cell import Cell

__all__ = ["Board"]

MIN_INTERVAL_S = 0.125
"""The least seconds between two drawings."""

CLOCK_INTERVAL_S = 1.0
"""Seconds after which the clock is drawn again while tasks are unfinished."""


class Board:
    """The table on one console; it stays until everybody who opened it has closed it.

    It may watch engines in several threads.
    """

    _shared: Board | None = None

    def __init__(self, console: Console, cell: Cell | None = None) -> None:
        """Draw on *console*, which is that of *cell* in a notebook."""
        self._console = console
        self._lock = threading.RLock()
        self._region = cell or Region(console, self._lock, self._draw_soon)
        self._feeds: set[Feed] = set()
        self._tally = Tally()
        self._engines: WeakSet[Watched] = WeakSet()
        self._run: tuple[str, str | None] = ("", None)
        self._outcome = ""
        self._users = 0
        self._started = False
        self._drawn = 0.0

    @classmethod
    def shared(cls) -> Board:
        """Return the board on stderr."""
        if cls._shared is None:
            from rich.console import Console

            cls._shared = cls(Console(file=sys.stderr, highlight=False))
        return cls._shared

    def open(self) -> None:
        """Show the board to one more user."""
        # Imported now, because in the middle of the run it would stall the loop.
        import rich.console
        import rich.text  # noqa: F401

        from . import table  # noqa: F401

        self._users += 1
        if self._is_terminal():
            self._region.open()
            follow_output()  # what tasks print goes through there, too

    def close(self) -> None:
        """Take one user away; after the last one, leave the final table and a summary."""
        if self._users > 1:
            self._users -= 1
            return
        if Board._shared is self:
            Board._shared = None
        for engine in list(self._engines):
            if engine._loop.is_closed():
                engine._deliver_events()
        with self._lock:
            self._users = 0
            started, self._started = self._started, False
            if started:
                if self._is_terminal():
                    self._region.draw(self._table())
                else:
                    self._print(self._table())
            self._region.close()
            if started:
                self._print(self._summary())

    def watch(self, engine: Watched) -> Callable[[], None]:
        """Count the tasks of *engine* too, and return the function that ends this."""
        with self._lock:
            if engine in self._engines:
                return lambda: None  # whoever watched it first will end it
            self._engines.add(engine)
            self._run = engine.uid, engine._journal_path
        feed = Feed(self, engine)
        self._feeds.add(feed)
        reference = ref(engine)

        def stop() -> None:
            feed.stop()
            self._feeds.discard(feed)
            watched = reference()
            if watched is not None:
                self._engines.discard(watched)

        return stop

    def join(self, census: Census) -> Share:
        """Show what *census* counts from now on, and return what that is."""
        with self._lock:
            return self._tally.join(census)

    def take(self, events: Sequence[Event]) -> float | None:
        """Show *events*, and draw if it is time.

        Returns:
            In how many seconds to call `draw`; None if that is not needed.
        """
        with self._lock:
            now = time.monotonic()
            self._tally.look(now)
            failures = self._tally.take(events)
            news = [news for event in events if (news := self._news(event))]
            if not self._users or not self._tally.rows:
                return None
            self._started = True
            for text in (*news, *map(self._failure_text, failures)):
                self._print(text)
            return self.wait() or self.draw()

    def wait(self) -> float:
        """Return in how many seconds to draw, because something has changed."""
        return max(self._drawn + MIN_INTERVAL_S - time.monotonic(), 0.0)

    def draw(self) -> float | None:
        """Draw the counts, and return the same as `take`."""
        with self._lock:
            now = time.monotonic()
            self._tally.look(now)
            if not self._users or not self._tally.rows:
                return None
            self._started = True
            self._drawn = now
            if self._is_terminal():
                self._region.draw(self._table())
            return CLOCK_INTERVAL_S if any(row.unfinished for row in self._tally.all()) else None

    def _draw_soon(self) -> None:
        for feed in list(self._feeds):
            feed.draw_soon(MIN_INTERVAL_S)

    def _is_terminal(self) -> bool:
        return self._console.is_terminal

    def _print(self, text: RenderableType) -> None:
        if self._is_terminal():
            self._region.print(text)
        else:  # lines are wrapped on a terminal only, never in a file
            self._console.print(text, soft_wrap=True)

    def _news(self, event: Event) -> RenderableType | None:
        """Return what is worth a line of its own: what was lost, or is tried again."""
        from rich.text import Text

        if type(event) is RunEvent:
            self._outcome = event.outcome
        elif type(event) is BackendEvent and event.state == "down" and event.error is not None:
            moved = f"; {event.moved:,} tasks go on elsewhere" if event.moved else ""
            return Text.assemble(
                ("backend ", "bold red"),
                (printable(event.backend), "bold"),
                f" was lost: {error_line(event.error)}{moved}",
            )
        elif type(event) is ServiceEvent and event.error is not None:
            how = "is started again" if event.state == "restarted" else "was lost"
            return Text.assemble(
                ("service ", "bold red"),
                (printable(event.name), "bold"),
                f" {how}: {error_line(event.error)}",
            )
        return None

    def _failure_text(self, failure: FailureLine) -> RenderableType:
        from rich.text import Text

        from .table import STYLES

        run, journal = self._run
        where = None if journal is None else logs_command(run, journal, failure.task_id)
        more = "; ".join(filter(None, (failure.detail, where)))
        return Text.assemble(
            ("failed ", STYLES["failed"]),
            (shorten_middle(failure.name, 60), "bold"),
            f" ({failure.id}): ",
            failure.text,
            (f"\n  {more}" if more else "", "dim"),
        )

    def _table(self) -> RenderableType:
        from .table import ASCII_SIGNS, SIGNS, render

        console = self._console
        signs = ASCII_SIGNS if console.options.ascii_only else SIGNS
        size = max(console.width - 1, 1), console.height
        return render(self._tally, self._slots(), size, time.monotonic(), signs)

    def _slots(self) -> dict[str, int | None]:
        """Return the backends of the engines, with how many cores tasks can use there."""
        slots: dict[str, int | None] = {}
        for engine in list(self._engines):
            for name, backend in engine.backends.items():
                more = capacity_of(backend)
                before = slots.get(name, 0)
                slots[name] = None if more is None or before is None else before + more
        return slots

    def _summary(self) -> RenderableType:
        from rich.text import Text

        from .table import STYLES

        tally, now = self._tally, time.monotonic()
        parts = [Text(text, STYLES.get(column, "")) for text, column in counts(tally, now)]
        text = Text(", ").join(parts)
        text.append(f" in {took(tally, now)}")
        for name, error, many in tally.failures.largest():
            text.append(f"\n  {many:,} times {shorten_middle(name, 60)}: {error}")
        for purpose, command in next_steps(tally, *self._run, self._outcome, now):
            text.append(f"\n  {purpose}: ", "dim").append(command)
        return text
