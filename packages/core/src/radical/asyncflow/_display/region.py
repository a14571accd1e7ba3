"""The last lines of a terminal, drawn again and again below what the program prints.

Between two drawings a program may print lines, parts of lines, and bars of its own with carriage
returns; a window may become narrower.  `rich.live` handles neither parts of lines nor narrower
windows, and draws everything anew for each line that the program prints.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..worker._taps import follow_output

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Region"]

REDRAW_INTERVAL_S = 0.05
"""The least seconds between two drawings that lines of the program cause."""

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


class Region:
    """The lines below what a program prints on the terminal of *console*.

    Whatever it prints by `sys.stdout`, `sys.stderr` and the handlers of `logging` goes above
    them, from `open` to `close`, if it goes to a terminal.  Any thread may print.
    """

    def __init__(
        self, console: Console, lock: threading.RLock, on_hidden: Callable[[], None]
    ) -> None:
        """Draw on *console*.

        Args:
            on_hidden: called, from any thread, when the lines were taken off and are to be
                drawn again soon.
        """
        self._console = console
        self._on_hidden = on_hidden
        self._file = console.file
        self._lock = lock
        self._lines: list[str] = []
        self._drawn: list[str] = []
        self._unended = ""  # the part of a line that was printed above the lines
        self._redrawn = 0.0
        self._above: list[_Above] = []
        self._is_open = False

    def open(self) -> None:
        """Have what the program prints go through here."""
        if self._is_open:
            return
        self._is_open = True
        streams: dict[int, _Above] = {}
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if _is_terminal(stream):
                above = streams[id(stream)] = _Above(stream, self, self._lock)
                setattr(sys, name, above)
                self._above.append(above)
        for handler in _handlers():
            if id(handler.stream) in streams:
                handler.stream = streams[id(handler.stream)]
        # Where the output of tasks is kept, it is kept before it goes through here.
        follow_output()

    def close(self) -> None:
        """Leave the lines where they are, and let the program print as before."""
        with self._lock:
            for above in self._above:
                above.end()
            if self._drawn:
                self._write("\n")
            self._lines, self._drawn, self._unended = [], [], ""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream in self._above:
                setattr(sys, name, stream.stream)
        for handler in _handlers():
            if handler.stream in self._above:
                handler.stream = handler.stream.stream
        self._above = []
        self._is_open = False

    def draw(self, renderable: RenderableType) -> None:
        """Draw *renderable* in place of what was drawn before."""
        # One column stays free: after a character in the last one terminals differ.
        width = max(self._console.width - 1, 1)
        with self._console.capture() as captured:
            self._console.print(renderable, width=width, overflow="crop", no_wrap=True, crop=True)
        with self._lock:
            self._lines = captured.get().rstrip("\n").split("\n")
            self._redraw()

    def print(self, renderable: RenderableType) -> None:
        """Print *renderable* above the lines."""
        with self._lock:
            self.erase()
            if self._unended:
                self._write("\n")
                self._unended = ""
            self._console.print(renderable)

    def emit(self, stream: Any, text: str) -> None:
        """Write *text* of the program to *stream*, above the lines."""
        if not self._lines:
            stream.write(text)
            return
        self.erase()
        self._file.flush()
        stream.write(text)
        stream.flush()
        self._unended = (self._unended + text).rpartition("\n")[2].rpartition("\r")[2][-1000:]
        if time.monotonic() - self._redrawn > REDRAW_INTERVAL_S:
            self._redraw()
        else:
            self._on_hidden()

    def erase(self) -> None:
        """Take the lines off the terminal, until they are drawn again."""
        if not self._drawn:
            return
        codes = f"{self._to_top()}\x1b[J"
        self._drawn = []
        if self._unended:
            codes += f"\x1b[A\x1b[{self._rest(self._unended) + 1}G"
        self._write(codes)

    def _redraw(self) -> None:
        begin = self._to_top() if self._drawn else "\n" if self._unended else ""
        body = "\n".join(f"{line}\x1b[K" for line in self._lines)
        self._drawn = self._lines
        self._redrawn = time.monotonic()
        self._write(f"{begin}{body}\x1b[J")

    def _to_top(self) -> str:
        """Return what moves the cursor to the first line, which may have been wrapped since."""
        width = max(self._console.width, 1)
        rows = sum(max(-(-_cells(line) // width), 1) for line in self._drawn)
        return f"\r\x1b[{rows - 1}A" if rows > 1 else "\r"

    def _rest(self, text: str) -> int:
        return _cells(text) % max(self._console.width, 1)

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()


class _Above:
    """A stream of the program, whose lines go above the region.

    Part of a line is kept until its end comes, or until the program flushes it.
    """

    def __init__(self, stream: Any, region: Region, lock: threading.RLock) -> None:
        self.stream = stream
        self._region = region
        self._lock = lock
        self._kept = ""
        self._ended = False
        self._pid = os.getpid()

    def write(self, text: str) -> int:
        """Write *text*, its last part when it is complete."""
        if self._is_direct():
            return int(self.stream.write(text))
        with self._lock:
            whole, end, self._kept = (self._kept + text).rpartition("\n")
            if end:
                self._region.emit(self.stream, whole + end)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write all of *lines*."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Write what is kept."""
        if not self._is_direct():
            with self._lock:
                kept, self._kept = self._kept, ""
                if kept:
                    self._region.emit(self.stream, kept)
        self.stream.flush()

    def end(self) -> None:
        """Write what is kept, and everything from now on directly."""
        self.flush()
        self._ended = True

    def _is_direct(self) -> bool:
        # In a fork the lock may be held for ever, and the lines are not there to be moved.
        return self._ended or os.getpid() != self._pid

    @property
    def rich_proxied_file(self) -> Any:
        """The stream to which the consoles of `rich` write, which draw the lines themselves."""
        return self.stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.stream)


def _handlers() -> Iterator[Any]:
    """Yield the handlers of all loggers that write to a stream."""
    loggers = [logging.getLogger(), *logging.getLogger().manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if hasattr(handler, "stream"):
                yield handler


def _is_terminal(stream: Any) -> bool:
    with contextlib.suppress(AttributeError, ValueError):  # stream is None, foreign, or closed
        return bool(stream.isatty())
    return False


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(_ESCAPE.sub("", text))
