"""The side of an engine that a display, or anybody else who watches it, may use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ..events import Event
from .census import Census

__all__ = ["Watched", "capacity_of"]

log = logging.getLogger("radical.asyncflow")


class Watched(Protocol):
    """An engine, as those who watch it see it; the members with an underscore are for us only."""

    @property
    def uid(self) -> str:
        """The name of the run."""

    @property
    def backends(self) -> Mapping[str, Any]:
        """The backends by name."""

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it runs in."""

    @property
    def _journal_path(self) -> str | None:
        """The file of its journal; None if it has none."""

    def _count(
        self, display: Callable[[Sequence[Event]], object], changed: Callable[[], None]
    ) -> tuple[Census, Callable[[], None]]:
        """Count the tasks from now on; return the counts, and the function that ends this.

        Args:
            display: is called with failures, and with what is about backends, services and
                the run.
            changed: is called when something was counted, once until somebody looks.
        """

    def _deliver_events(self) -> None:
        """Tell the displays now what they have not been told yet."""


def capacity_of(backend: Any) -> int | None:
    """Return how many cores tasks can use on *backend* now; None if it does not say."""
    try:
        found = backend.capacity()
    except Exception:  # foreign code, which must not end the display
        log.debug("backend %r raised in capacity()", backend, exc_info=True)
        return None
    return found if isinstance(found, int) else None
