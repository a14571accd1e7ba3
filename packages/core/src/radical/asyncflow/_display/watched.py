"""The side of an engine that a display, or anybody else who watches it, may use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..events import Event

__all__ = ["UnfinishedTask", "Watched"]


class UnfinishedTask(NamedTuple):
    """A task that was called before its engine was watched, and has not ended."""

    number: int
    name: str
    running: bool


class Watched(Protocol):
    """An engine, as those who watch it see it; the members with an underscore are for us only."""

    @property
    def backends(self) -> Mapping[str, Any]:
        """The backends by name."""

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it runs in."""

    def observe(self, callback: Callable[[Sequence[Event]], object]) -> Callable[[], None]:
        """Have *callback* called with events from now on; return the function that ends it."""

    def _deliver_events(self) -> None:
        """Tell the observers now what they have not been told yet."""

    def _unfinished_tasks(self) -> list[UnfinishedTask]:
        """Return the tasks that have not ended, in the order of their calls."""
