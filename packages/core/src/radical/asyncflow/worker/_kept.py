"""The last part of the output and of the log records of one attempt at a task."""

from __future__ import annotations

import threading
import traceback
from collections import deque
from typing import TYPE_CHECKING

from .._text import safe_repr
from ..model import LogLine, TaskTrace, TaskUsage

if TYPE_CHECKING:
    import logging

__all__ = ["MOST_CHARS", "Kept"]

MOST_CHARS = 4000
"""Characters that are kept of each stream of a task, and of all that it logs."""

MOST_RECORDS = 200
"""Log records that are kept of a task."""


class _Tail:
    """The last part of a text that grows."""

    __slots__ = ("_length", "_pieces", "_total")

    def __init__(self) -> None:
        self._pieces: deque[str] = deque()
        self._length = self._total = 0

    def add(self, text: str) -> None:
        length = len(text)
        self._total += length
        if length > MOST_CHARS:
            text = text[-MOST_CHARS:]
            length = MOST_CHARS
        pieces = self._pieces
        pieces.append(text)
        self._length += length
        while self._length - len(pieces[0]) >= MOST_CHARS:
            self._length -= len(pieces.popleft())

    def end(self) -> tuple[str, int]:
        """Return the text, and how many characters are missing before it."""
        text = "".join(self._pieces)[-MOST_CHARS:]
        return text, self._total - len(text)


class Kept:
    """The output of one attempt at a task so far; its own threads may add to it."""

    __slots__ = ("_length", "_lock", "_logged", "_logs", "_streams")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams = (_Tail(), _Tail())
        self._logs: deque[LogLine] = deque()
        self._length = self._logged = 0

    def add_text(self, stream: int, text: str) -> None:
        """Add what was written to stdout (0) or stderr (1)."""
        with self._lock:
            self._streams[stream].add(text)

    def add_record(self, record: logging.LogRecord) -> None:
        """Add a record of `logging`."""
        try:
            text = record.getMessage()
        except Exception:  # its arguments do not fit, as the handlers will say
            text = safe_repr(record.msg)
        if record.exc_info:
            trace = record.exc_text or "".join(traceback.format_exception(*record.exc_info))
            text = f"{text}\n{trace.rstrip()}"
        line = LogLine(record.created, record.levelno, record.name, text[-MOST_CHARS:])
        with self._lock:
            logs = self._logs
            self._logged += 1
            logs.append(line)
            self._length += len(line.text)
            while self._length > MOST_CHARS or len(logs) > MOST_RECORDS:
                self._length -= len(logs.popleft().text)

    def trace(self, usage: TaskUsage | None = None) -> TaskTrace:
        """Return what there is by now."""
        with self._lock:
            (stdout, out_cut), (stderr, err_cut) = (tail.end() for tail in self._streams)
            logs = tuple(self._logs)
            cut = (out_cut, err_cut, self._logged - len(logs))
        return TaskTrace(stdout, stderr, logs, cut, usage)
