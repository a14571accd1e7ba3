"""The live display of a run on a terminal: one table, however many engines there are.

It is drawn when events come, at most eight times a second, and once a second while tasks
are unfinished, so that the clock goes on.  While nothing is unfinished it is not drawn.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet, ref

from .._text import duration, printable, shorten
from ..errors import ConfigurationError
from ..events import Event
from .tally import FailureLine, Row, Tally
from .watched import Watched

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table

__all__ = ["Board", "Progress", "on_terminal"]

MIN_INTERVAL_S = 0.125
"""The least seconds between two drawings."""

CLOCK_INTERVAL_S = 1.0
"""Seconds after which the clock is drawn again while tasks are unfinished."""

MAX_ROWS = 20
"""The most names that the table shows; the height of the terminal may allow fewer."""

OTHER_LINES = 6
"""Lines of the terminal for the head, the total, and some of what was printed above."""

STATE_STYLES = {
    "pending": "",
    "running": "cyan",
    "done": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "retried": "magenta",
}

WIDE_COLUMNS = 72
"""The width of a terminal from which states that no task is in get a column too."""


def on_terminal() -> bool:
    """Tell whether a display can be drawn: stderr is a terminal that can move its cursor."""
    from os import environ

    try:
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # stderr was closed
        return False
    return is_terminal and environ.get("TERM", "").lower() not in ("dumb", "unknown")


class Progress:
    """The display of one engine, for ``with`` and ``async with``.

    If stderr is no terminal it does nothing and costs nothing, unless it is forced or has
    a console of its own.  Displays that are shown at the same time share one table, also
    with the table of ``asyncflow run``.
    """

    def __init__(
        self, engine: Watched, *, console: Console | None = None, force: bool = False
    ) -> None:
        """Draw on *console*, a `rich.console.Console`, instead of stderr if it is given.

        Args:
            force: draw even if stderr is no terminal.
        """
        self._engine = engine
        self._console = console
        self._silent = console is None and not force and not on_terminal()
        self._board: Board | None = None
        self._leave: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        if self._board is not None:
            raise ConfigurationError("this progress display is already shown: make another one")
        if not self._silent:
            self._board = Board.shared() if self._console is None else Board(self._console)
            self._board.open()
            self._leave = self._board.watch(self._engine)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        board, self._board = self._board, None
        leave, self._leave = self._leave, None
        try:
            if leave is not None:
                leave()
        finally:
            if board is not None:
                board.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)


class Board:
    """The table on one console; it stays until everybody who opened it has closed it.

    It may watch engines in several threads.
    """

    _shared: Board | None = None

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.RLock()
        self._tally = Tally()
        self._engines: WeakSet[Watched] = WeakSet()
        self._users = 0
        self._live: Live | None = None
        self._drawn = 0.0

    @classmethod
    def shared(cls) -> Board:
        """Return the board on stderr."""
        if cls._shared is None:
            from rich.console import Console

            cls._shared = cls(Console(stderr=True, highlight=False))
        return cls._shared

    def open(self) -> None:
        """Show the board to one more user."""
        # Imported now, because in the middle of the run it would stall the loop.
        import rich.live
        import rich.table
        import rich.text  # noqa: F401

        self._users += 1

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
            live, self._live = self._live, None
            if live is None:
                return
            self._users = 0
            live.stop()
            if not self._console.is_terminal:
                self._console.line()  # rich ends the table's last line on terminals alone
            self._print(self._summary())

    def watch(self, engine: Watched) -> Callable[[], None]:
        """Count the tasks of *engine* too, and return the function that ends this."""
        with self._lock:
            if engine in self._engines:
                return lambda: None  # whoever watched it first will end it
            self._engines.add(engine)
        feed = _Feed(self, engine)
        reference = ref(engine)

        def stop() -> None:
            feed.stop()
            watched = reference()
            if watched is not None:
                self._engines.discard(watched)

        return stop

    def begin(self, name: str, *, running: bool) -> None:
        """Count a task that was called before the display was there."""
        with self._lock:
            self._tally.begin(name, time.monotonic(), running=running)

    def take(self, events: Sequence[Event], running: set[int]) -> float | None:
        """Count *events*, and draw if it is time.

        Returns:
            In how many seconds to call `draw`; None if that is not needed.
        """
        with self._lock:
            now = time.monotonic()
            failures = self._tally.take(events, running, now)
            if not self._users:
                return None
            self._live = self._live or self._start()
            if failures:
                self._print(_failure_lines(failures))
            wait = self._drawn + MIN_INTERVAL_S - now
            return wait if wait > 0 else self.draw()

    def draw(self) -> float | None:
        """Draw the counts, and return the same as `take`."""
        with self._lock:
            if self._live is None:
                return None
            self._drawn = time.monotonic()
            self._live.refresh()
            return CLOCK_INTERVAL_S if any(row.unfinished for row in self._tally.all()) else None

    def _print(self, text: RenderableType) -> None:
        # Lines are wrapped on a terminal only, never in a file.
        self._console.print(text, soft_wrap=not self._console.is_terminal)

    def _start(self) -> Live:
        from rich.live import Live

        # What the script prints goes above the table, but only if it goes to this terminal
        # anyway: rich would send a redirected stdout to the console too.
        terminal = self._console.is_terminal and self._console.file.isatty()
        live = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=terminal and _is_terminal(sys.stdout),
            redirect_stderr=terminal and _is_terminal(sys.stderr),
            get_renderable=self._table,
        )
        live.start()
        # A killed program could not bring a hidden cursor back.
        self._console.show_cursor(True)
        return live

    def _table(self) -> RenderableType:
        with self._lock:
            return _table(self._tally, self._console.width, self._console.height)

    def _summary(self) -> RenderableType:
        from rich.text import Text

        tally = self._tally
        rows = tally.all()
        total = Row.sum(rows)
        skipped = f" ({tally.skipped} by a dependency)" if tally.skipped else ""
        parts = [
            (f"{count} {word}", style if count else "")
            for count, word, style in (
                (total.done, "done", STATE_STYLES["done"]),
                (total.failed, f"failed{skipped}", STATE_STYLES["failed"]),
                (total.cancelled, "cancelled", STATE_STYLES["cancelled"]),
                (total.unfinished, "unfinished", ""),
                (total.retried, "retried", STATE_STYLES["retried"]),
            )
            if count or word == "done"
        ]
        text = Text(", ").join(Text(part, style) for part, style in parts)
        text.append(f" in {duration(total.elapsed(time.monotonic()))}")
        if tally.unlisted:
            text.append(f"; {tally.unlisted} failures are not listed")
        return text


class _Feed:
    """The events of one engine on their way to a board, and the timer of the next drawing."""

    def __init__(self, board: Board, engine: Watched) -> None:
        self._board = board
        self._loop = engine._loop
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[int] = set()
        # The states below already include events that observers have not been told yet.
        engine._deliver_events()
        for number, name, running in engine._unfinished_tasks():
            if running:
                self._running.add(number)
            board.begin(name, running=running)
        self._unobserve = engine.observe(self._take)

    def stop(self) -> None:
        """Count the last events, and stop drawing."""
        self._unobserve()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._board.draw()

    def _take(self, events: Sequence[Event]) -> None:
        self._schedule(self._board.take(events, self._running))

    def _tick(self) -> None:
        self._timer = None
        self._schedule(self._board.draw())

    def _schedule(self, wait: float | None) -> None:
        if wait is None or self._loop.is_closed():
            return
        when = self._loop.time() + wait
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)


def _is_terminal(stream: Any) -> bool:
    with suppress(AttributeError, ValueError):  # stream is None, foreign, or closed
        return bool(stream.isatty())
    return False


def _failure_lines(failures: Sequence[FailureLine]) -> RenderableType:
    from rich.text import Text

    return Text("\n").join(
        Text.assemble(
            ("failed ", STATE_STYLES["failed"]),
            (shorten(failure.name, 40), "bold"),
            f" ({failure.id}): ",
            failure.text,
        )
        for failure in failures
    )


def _table(tally: Tally, width: int, height: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    now = time.monotonic()
    rows = list(tally.rows.items())
    total = Row.sum(tally.all()) if rows else Row(now)
    room = max(3, min(MAX_ROWS, height - OTHER_LINES))
    hidden = [tally.others] if tally.others else []
    if len(rows) > room:
        rows.sort(key=lambda item: not item[1].unfinished)  # a stable sort
        hidden += [row for _, row in rows[room:]]
        rows = rows[:room]
    states = [state for state in STATE_STYLES if width >= WIDE_COLUMNS or getattr(total, state)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    times = [duration(row.elapsed(now)) for row in (total, *(row for _, row in rows))]
    widths = {state: max(len(state), len(str(getattr(total, state)))) for state in states}
    widths["time"] = max(map(len, ("time", *times)))
    left = width - sum(widths.values()) - 2 * len(widths)
    table.add_column("task", no_wrap=True, overflow="ellipsis", max_width=max(8, left))
    for head, needed in widths.items():
        table.add_column(head, justify="right", no_wrap=True, min_width=needed)

    def add(label: Text, row: Row) -> None:
        cells = []
        for state in states:
            count = getattr(row, state)
            cells.append(Text(f"{count}", STATE_STYLES[state] if count else "dim"))
        table.add_row(label, *cells, Text(duration(row.elapsed(now))))

    for name, row in rows:
        add(Text(printable(name)), row)
    if hidden:
        add(Text("(other names)", "dim"), Row.sum(hidden))
    if len(rows) + len(hidden) > 1:
        add(Text("total", "bold"), total)
    return table
