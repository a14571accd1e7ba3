"""Taps on the streams and loggers of this process: they keep what tasks print and log.

A tap finds the task by its context.  Everything still goes where it went before, and code that
belongs to no task pays for a look at a context variable.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from .._public import public
from ..model import TaskTrace, TaskUsage
from ._context import TaskContext, current_task
from ._kept import Kept

__all__ = ["follow_output", "keep_output", "trace_of"]


@public("radical.asyncflow.worker")
def trace_of(context: TaskContext, usage: TaskUsage | None = None) -> TaskTrace | None:
    """Return the trace of the attempt of *context*; None if it left none."""
    kept: Kept | None = context.kept
    if kept is not None:
        return kept.trace(usage)
    return None if usage is None else TaskTrace(usage=usage)


@public("radical.asyncflow.worker")
def keep_output() -> Callable[[], None]:
    """Keep what tasks print and log in this process, from now on.

    A task has it in its `TaskContext`, and `trace_of` returns it.

    Returns:
        A function that ends this.  If this was called several times, the last one ends it.
    """
    return _taps.open()


def follow_output() -> None:
    """Keep also what goes to the present ``sys.stdout`` and ``sys.stderr``, if others do not."""
    _taps.follow()


class _Taps:
    """The taps of this process on its streams and its loggers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: set[object] = set()
        self._close: list[Callable[[], None]] = []

    def open(self) -> Callable[[], None]:
        user = object()
        with self._lock:
            if not self._users:
                self._close.append(_tap_loggers())
            self._users.add(user)
            self._tap_streams()

        def leave() -> None:
            with self._lock:
                if user in self._users:
                    self._users.remove(user)
                    if not self._users:
                        self._close_all()

        return leave

    def follow(self) -> None:
        with self._lock:
            if self._users:
                self._tap_streams()

    def leave_fork(self) -> None:
        """Keep nothing in a fork, whose tasks nobody asks."""
        self._lock = threading.Lock()
        self._users.clear()
        self._close_all()

    def _tap_streams(self) -> None:
        for number, stream in enumerate((sys.stdout, sys.stderr)):
            if stream is not None:
                self._close += _tap_stream(stream, number)

    def _close_all(self) -> None:
        while self._close:
            self._close.pop()()


_taps = _Taps()
os.register_at_fork(after_in_child=_taps.leave_fork)
_passing = threading.local()  # has `on` while a thread passes on what was kept already


def _tap_stream(stream: Any, number: int) -> list[Callable[[], None]]:
    """Keep what tasks write to *stream*; return what ends that, if there is something to end."""
    write = stream.write
    if getattr(write, "asyncflow_tap", False):
        return []

    def tapped(text: str) -> Any:
        task = current_task()
        if task is None or getattr(_passing, "on", False):
            return write(text)
        if isinstance(text, str):
            kept = task.kept
            if kept is None:
                kept = task.kept = Kept()
            kept.add_text(number, text)
        # A stream may write to one that is tapped, too, and draw something there.
        _passing.on = True
        try:
            return write(text)
        finally:
            _passing.on = False

    tapped.asyncflow_tap = True  # type: ignore[attr-defined]
    try:
        # The stream itself stays in its place: others may hold it, or ask for its type.
        stream.write = tapped
    except (AttributeError, TypeError):  # it takes no attributes
        return []

    def close() -> None:
        if vars(stream).get("write") is tapped:
            del stream.write

    return [close]


def _tap_loggers() -> Callable[[], None]:
    """Keep what tasks log; return the function that ends this."""
    before = logging.Logger.callHandlers

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        task = current_task()
        if task is None or getattr(_passing, "on", False):
            before(self, record)
            return
        kept = task.kept
        if kept is None:
            kept = task.kept = Kept()
        kept.add_record(record)
        # What handlers print is the record once more.
        _passing.on = True
        try:
            before(self, record)
        finally:
            _passing.on = False

    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]

    def close() -> None:
        if logging.Logger.callHandlers is call_handlers:
            logging.Logger.callHandlers = before  # type: ignore[method-assign]

    return close
