"""A slow question, such as to a batch system, whose last answer is at hand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from .._public import public

__all__ = ["LastAnswer"]


@public("radical.asyncflow.worker")
class LastAnswer:
    """The last answer to a question that takes a while; any thread may call any method.

    Nobody asks until somebody wants the answer.  Then a thread asks, and whoever comes later
    has what it found.

    Args:
        ask: asks, and returns the answer in words; "" if there is none.
        every: the least seconds between two questions.
    """

    def __init__(self, ask: Callable[[], str], *, every: float = 10.0) -> None:
        self._ask = ask
        self._every = every
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._asked = -every
        self._answer = ""
        self._closed = False

    def get(self) -> str:
        """Return the last answer, and have a thread ask again if it is old; "" before the first."""
        with self._lock:
            idle = self._thread is None or not self._thread.is_alive()
            if idle and not self._closed and monotonic() - self._asked >= self._every:
                self._asked = monotonic()
                self._thread = threading.Thread(
                    target=self._work, name="asyncflow-question", daemon=True
                )
                self._thread.start()
        return self._answer

    def forget(self) -> None:
        """Drop the answer: the next one is about something else."""
        with self._lock:
            self._answer = ""
            self._asked = -self._every

    def close(self) -> None:
        """Ask no more, and wait until nobody does; do not call this in an event loop."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _work(self) -> None:
        self._answer = self._ask()
