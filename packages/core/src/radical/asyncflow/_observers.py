"""Who watches a run, and how they are told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .events import TaskEvent

if TYPE_CHECKING:
    from ._future import TaskFuture
    from .model import TaskState

__all__ = ["Observer", "Observers"]

log = logging.getLogger("radical.asyncflow")

Observer = Callable[[Sequence[TaskEvent]], object]

ERRORS = 3
"""An observer that raised so often is not called again."""


class Observers:
    """The observers of one engine.

    Attributes:
        events: what they have not been told yet; None while nobody watches, so that an
            event then costs the engine one comparison.
    """

    __slots__ = ("_clock", "_watching", "events")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._watching: dict[Observer, int] = {}
        self.events: list[TaskEvent] | None = None

    def add(self, observer: Observer) -> Callable[[], None]:
        """Tell *observer* from now on.  Returns the function that ends it."""
        self._watching[observer] = 0
        if self.events is None:
            self.events = []

        def stop() -> None:
            self.deliver()
            self._remove(observer)

        return stop

    def tell(
        self, node: TaskFuture[Any], state: TaskState, error: BaseException | None = None
    ) -> None:
        """Note that *node* entered *state*; only while `events` is not None."""
        assert self.events is not None
        spec = node.spec
        worker = None if node.aux is None else node.aux.worker
        where = "" if node.lane is None else node.lane.name
        self.events.append(
            TaskEvent(
                self._clock(),
                node.number,
                spec.name,
                spec.kind,
                state,
                node.attempt,
                where,
                worker,
                error,
            )
        )

    def deliver(self) -> None:
        """Hand over what happened since the last time; an error harms nobody else."""
        if not self.events:
            return
        events, self.events = self.events, []
        for observer in list(self._watching):
            try:
                observer(events)
            except Exception:
                self._raised(observer)

    def _raised(self, observer: Observer) -> None:
        if observer not in self._watching:
            log.exception("observer %r raised as it ended", observer)
            return
        self._watching[observer] += 1
        errors = self._watching[observer]
        if errors == 1:
            log.exception("observer %r raised; the run goes on", observer)
        if errors >= ERRORS:
            log.warning("observer %r raised %d times and is not called again", observer, errors)
            self._remove(observer)

    def _remove(self, observer: Observer) -> None:
        self._watching.pop(observer, None)
        if not self._watching:
            self.events = None
