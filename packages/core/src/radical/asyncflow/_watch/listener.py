"""A plugin that watches a run from a thread of its own: whatever it does, the run goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from ..aside import in_thread
from ..events import Event, TaskEvent

__all__ = ["Listener"]

log = logging.getLogger("radical.asyncflow")

PACE = 0.02
"""Seconds in which events gather for one call, so that a thread does not wake for each."""

CALL = 10_000
"""Events after which a call gets no more; between two calls a thread can be ended."""

LIMIT = 500_000
"""Events that may wait for a plugin; some 200 MB.  Tasks' events beyond that are dropped."""

ERRORS = 3
"""A plugin that raised so often is not called again."""

GRACE = 2.0
"""Seconds that it has for what waits when the run ends."""


class Listener:
    """Calls one plugin with the events of one engine, one batch after the other.

    Attributes:
        dropped: events that were not handed over, because too many waited.
    """

    def __init__(self, plugin: str, hook: Callable[[Sequence[Event]], object]) -> None:
        self._plugin = plugin
        self._hook = hook
        self._queue: SimpleQueue[Sequence[Event] | None] = SimpleQueue()
        self._put = self._taken = 0  # each is written by one thread alone
        self._closing = threading.Event()
        self._left = False
        self._errors = 0
        self.dropped = 0
        self._thread = threading.Thread(
            target=self._serve, name=f"asyncflow-plugin-{plugin}", daemon=True
        )
        self._thread.start()

    # ----------------------------------------------------------- in the loop

    def __call__(self, events: Sequence[Event]) -> None:
        """Hand over *events*, and return at once."""
        if self._left:
            return
        if self._put - self._taken + len(events) > LIMIT:
            # What tells of the run and its backends is rare, and never left out.
            kept: Sequence[Event] = [event for event in events if type(event) is not TaskEvent]
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
        """Return when it has handled what waits, or after `GRACE`; then it is left behind."""
        self._queue.put(None)
        self._closing.set()
        await in_thread(self._thread.join, GRACE)
        self._left = True
        if self._thread.is_alive():
            log.warning(
                "plugin %s did not come to an end within %g s (it has not handled %d events); "
                "it is left behind",
                self._plugin,
                GRACE,
                self._put - self._taken,
            )
        if self.dropped:
            log.warning("plugin %s missed %d events", self._plugin, self.dropped)

    def __repr__(self) -> str:
        return f"<plugin {self._plugin}>"

    # ---------------------------------------------------- in the own thread

    def _serve(self) -> None:
        while not self._left:
            batch = self._queue.get()
            if batch is None:
                return
            self._closing.wait(PACE)
            events, last = self._gather(batch)
            self._tell(events)
            self._taken += len(events)
            if last:
                return

    def _gather(self, batch: Sequence[Event]) -> tuple[Sequence[Event], bool]:
        """*batch* and more of what waits, and whether that is all there will ever be."""
        events: list[Event] = [*batch]
        while len(events) < CALL:
            try:
                more = self._queue.get_nowait()
            except Empty:
                return events, False
            if more is None:
                return events, True
            events += more
        return events, False

    def _tell(self, events: Sequence[Event]) -> None:
        if self._errors >= ERRORS:
            return
        try:
            self._hook(events)
        except BaseException as error:  # SystemExit of a plugin is an error like any other
            self._errors += 1
            if self._errors == 1:
                log.error("plugin %s raised; the run goes on", self._plugin, exc_info=error)
            if self._errors == ERRORS:
                log.warning(
                    "plugin %s raised %d times and is not called again", self._plugin, ERRORS
                )
