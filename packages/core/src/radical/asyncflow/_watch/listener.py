"""Call a plugin that observes a run in a thread of its own, so that it cannot harm the run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from ..aside import in_thread
from ..events import Event, OutputEvent, TaskEvent

__all__ = ["Listener"]

log = logging.getLogger("radical.asyncflow")

GATHER_S = 0.02
"""Seconds in which events gather for one call, so that the thread does not wake for each."""

EVENTS_A_CALL = 10_000
"""Events from which on a call gets no more; the thread can be ended between two calls."""

MAX_WAITING_EVENTS = 500_000
"""Events that may wait for a plugin, some 200 MB; beyond that, events of tasks are dropped."""

MAX_ERRORS = 3
"""The number of errors after which a plugin is not called again."""

END_GRACE_S = 2.0
"""Seconds that a plugin has for the waiting events when the run ends."""


class Listener:
    """The thread that calls one plugin with the events of one engine, batch after batch.

    Attributes:
        dropped: the number of events that were dropped because too many waited.
    """

    def __init__(self, plugin: str, hook: Callable[[Sequence[Event]], object]) -> None:
        self._plugin = plugin
        self._hook = hook
        self._queue: SimpleQueue[Sequence[Event] | None] = SimpleQueue()
        self._put = self._taken = 0  # each is written by one thread alone
        self._closing = threading.Event()
        self._left_behind = False
        self._errors = 0
        self.dropped = 0
        self._thread = threading.Thread(
            target=self._serve, name=f"asyncflow-plugin-{plugin}", daemon=True
        )
        self._thread.start()

    # ----------------------------------------------------------- in the loop

    def __call__(self, events: Sequence[Event]) -> None:
        """Queue *events* for the plugin, and return at once."""
        if self._left_behind:
            return
        if self._put - self._taken + len(events) > MAX_WAITING_EVENTS:
            # Events of the run and its backends are rare, and are never dropped.
            kept: Sequence[Event] = [
                event for event in events if not isinstance(event, TaskEvent | OutputEvent)
            ]
            if not self.dropped:
                log.warning(
                    "plugin %s is %d events behind: from now on it misses some; the run goes on",
                    self._plugin,
                    self._put - self._taken,
                )
            self.dropped += len(events) - len(kept)
            events = kept
        if events:
            self._put += len(events)
            self._queue.put(events)

    async def close(self) -> None:
        """Wait until the plugin has handled all events, for at most `END_GRACE_S` seconds.

        After that the thread is left behind.
        """
        self._queue.put(None)
        self._closing.set()
        await in_thread(self._thread.join, END_GRACE_S)
        self._left_behind = True
        if self._thread.is_alive():
            log.warning(
                "plugin %s did not end within %g s and is left behind; "
                "it has not handled %d events",
                self._plugin,
                END_GRACE_S,
                self._put - self._taken,
            )
        if self.dropped:
            log.warning("plugin %s missed %d events", self._plugin, self.dropped)

    def __repr__(self) -> str:
        return f"<plugin {self._plugin}>"

    # ---------------------------------------------------- in the own thread

    def _serve(self) -> None:
        while not self._left_behind:
            batch = self._queue.get()
            if batch is None:
                return
            self._closing.wait(GATHER_S)
            events, last = self._gather(batch)
            self._call_hook(events)
            self._taken += len(events)
            if last:
                return

    def _gather(self, batch: Sequence[Event]) -> tuple[Sequence[Event], bool]:
        """Return *batch* with more of the waiting events, and True if no others can follow."""
        events: list[Event] = [*batch]
        while len(events) < EVENTS_A_CALL:
            try:
                more = self._queue.get_nowait()
            except Empty:
                return events, False
            if more is None:
                return events, True
            events += more
        return events, False

    def _call_hook(self, events: Sequence[Event]) -> None:
        if self._errors >= MAX_ERRORS:
            return
        try:
            self._hook(events)
        except BaseException as error:  # SystemExit of a plugin is an error like any other
            self._errors += 1
            if self._errors == 1:
                log.error("plugin %s raised; the run goes on", self._plugin, exc_info=error)
            if self._errors == MAX_ERRORS:
                log.warning(
                    "plugin %s raised %d times and is not called again", self._plugin, MAX_ERRORS
                )
