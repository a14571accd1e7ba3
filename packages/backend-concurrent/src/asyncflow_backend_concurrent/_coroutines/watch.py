"""A watch over an event loop in another thread: it names who holds the loop."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from radical.asyncflow.worker import TaskContext

__all__ = ["Watch"]

_log = logging.getLogger("radical.asyncflow.concurrent")


class Watch:
    """Asks the loop for a sign of life, by a timer in the program's loop while there is work.

    Its methods are called in the program's loop.

    Args:
        backend: the name of the backend.
        seconds: the time between two questions, which is the longest that an answer may take.
        is_busy: tells whether there is work.

    Attributes:
        backend: the same.
    """

    def __init__(self, *, backend: str, seconds: float, is_busy: Callable[[], bool]) -> None:
        self.backend = backend
        self._seconds = seconds
        self._is_busy = is_busy
        self._timer: asyncio.TimerHandle | None = None
        self._answered = threading.Event()
        self._answered.set()
        self._told = False  # that the loop is held since the last question
        self._watched: asyncio.AbstractEventLoop
        self._thread: threading.Thread
        self._owner_of: Callable[[asyncio.Task[Any]], TaskContext | None]

    def watch(
        self,
        loop: asyncio.AbstractEventLoop,
        thread: threading.Thread,
        owner_of: Callable[[asyncio.Task[Any]], TaskContext | None],
    ) -> None:
        """Take *loop*, which *thread* runs; *owner_of* tells whose an asyncio task is."""
        self._watched, self._thread, self._owner_of = loop, thread, owner_of

    def begin(self) -> None:
        """Watch from now on until there is no work, if it does not do that already."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self._look)

    def end(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if not self._is_busy():
            return
        if self._answered.is_set():
            self._answered.clear()
            self._told = False
            try:
                self._watched.call_soon_threadsafe(self._answered.set)
            except RuntimeError:
                return  # the loop has ended
        elif not self._told:
            self._told = True
            self._tell()
        self.begin()

    def _tell(self) -> None:
        """Name the task that holds the loop, and the line where it does."""
        task = asyncio.current_task(self._watched)
        owner = None if task is None else self._owner_of(task)
        who = "a callback" if owner is None else f"task {owner.name!r} (#{owner.task_id})"
        _log.warning(
            "%s has held the event loop of backend %r for more than %g s, %s, and all other "
            "async functions wait: let it await, or give the work to asyncio.to_thread",
            *(who, self.backend, self._seconds, self._place()),
        )

    def _place(self) -> str:
        ident = self._thread.ident
        frame: FrameType | None = None if ident is None else sys._current_frames().get(ident)
        if frame is None:
            return "at an unknown place"
        return f"now in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
