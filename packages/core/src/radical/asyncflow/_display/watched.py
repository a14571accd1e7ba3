"""The side of an engine that a display, or anybody else who watches it, may use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..events import Event

__all__ = ["UnfinishedTask", "Watched", "capacity_of"]

log = logging.getLogger("radical.asyncflow")


class UnfinishedTask(NamedTuple):
    """A task that was called before its engine was watched, and has not ended.

    Attributes:
        sent: its backend has it.
        cores: the cores that it occupies while it runs.
    """

    number: int
    name: str
    running: bool
    sent: bool = False
    is_block: bool = False
    backend: str = ""
    cores: int = 1


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

    def observe(self, callback: Callable[[Sequence[Event]], object]) -> Callable[[], None]:
        """Have *callback* called with events from now on; return the function that ends it."""

    def _deliver_events(self) -> None:
        """Tell the observers now what they have not been told yet."""

    def _unfinished_tasks(self) -> list[UnfinishedTask]:
        """Return the tasks that have not ended, in the order of their calls."""


def capacity_of(backend: Any) -> int | None:
    """Return how many cores tasks can use on *backend* now; None if it does not say."""
    try:
        found = backend.capacity()
    except Exception:  # foreign code, which must not end the display
        log.debug("backend %r raised in capacity()", backend, exc_info=True)
        return None
    return found if isinstance(found, int) else None
