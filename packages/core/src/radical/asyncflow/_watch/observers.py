"""Who watches a run, and how they are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from time import monotonic, perf_counter, time
from typing import TYPE_CHECKING, Any

from ..events import BackendEvent, Event, RunEvent, TaskEvent
from ..model import TaskState

if TYPE_CHECKING:
    from .._task.future import TaskFuture
    from .._task.scope import Scope
    from ..backend._inbox import Inbox
    from ..backend._lane import Lane
    from .listener import Listener

__all__ = ["Observer", "Observers"]

log = logging.getLogger("radical.asyncflow")

Observer = Callable[[Sequence[Event]], object]

PENDING, RUNNING = TaskState.PENDING, TaskState.RUNNING

ERRORS = 3
"""An observer that raised so often is not called again."""

SLOW = 0.1
"""Seconds for which an observer may hold the loop without a warning."""

STEP = 0.0002
"""Seconds that the wall clock may be off before its distance is measured anew."""

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


class Observers:
    """The observers of one engine.

    Attributes:
        clock: what the times are read from.
        events: what they have not been told yet; None while nobody watches, so that an
            event then costs the engine one comparison.
    """

    __slots__ = (
        "_began",
        "_inbox",
        "_listeners",
        "_run",
        "_slow",
        "_timed",
        "_to_wall",
        "_watching",
        "clock",
        "events",
    )  # fmt: skip

    def __init__(self, run: str, inbox: Inbox) -> None:
        self._run = run
        self._inbox = inbox
        self._watching: dict[Observer, int] = {}
        self._listeners: list[Listener] = []
        self._slow: set[Observer] = set()
        self._to_wall = 0.0
        self.clock = monotonic
        self._began = self.clock()
        self._timed = False
        self.events: list[Event] | None = None

    def add(self, observer: Observer) -> Callable[[], None]:
        """Tell *observer* from now on, in the loop.  Returns the function that ends it."""
        self._watching[observer] = 0
        if self.events is None:
            self.events = []
            self._inbox.clock = self.clock
            self._set_wall()

        def stop() -> None:
            self.deliver()
            self._remove(observer)

        return stop

    def keep_time(self) -> None:
        """Have reports say from now on when what they report happened: the journal asks."""
        self._timed = True
        self._inbox.clock = self.clock

    def listen(self, listeners: Sequence[Listener], lanes: Iterable[Lane]) -> None:
        """Tell *listeners*, who have threads of their own, from the beginning of the run."""
        if not listeners:
            return
        for listener in listeners:
            self._listeners.append(listener)
            self.add(listener)
        assert self.events is not None
        self.events.append(RunEvent(self._began, "begun", "", None, *self._of(self._began)))
        for lane in lanes:
            up = BackendEvent(lane.since, lane.name, "up", None, *self._of(lane.since))
            self.events.append(up)
        self.deliver()

    def add_task(
        self,
        node: TaskFuture[Any],
        dependencies: Iterable[TaskFuture[Any]] | None,
        scope: Scope | None,
    ) -> None:
        """Note that *node* was called; only while `events` is not None."""
        depends_on = (
            () if dependencies is None else tuple({other._number: None for other in dependencies})
        )
        block = None
        if scope is not None and scope.engine == self._run:
            block = scope.block
        self.tell(node, PENDING, None, None, depends_on, None if block is None else block._number)

    def tell(
        self,
        node: TaskFuture[Any],
        state: TaskState,
        error: BaseException | None = None,
        when: float | None = None,
        depends_on: tuple[int, ...] = (),
        block: int | None = None,
    ) -> None:
        """Note that *node* entered *state*; only while `events` is not None."""
        if when is None:
            when = self.clock()
        spec = node._spec
        extras = node._extras
        worker = workflow_id = None
        if extras is not None:
            workflow_id = extras.workflow_id
            if state >= RUNNING or error is not None:
                worker = extras.worker
        self._note(
            _new(
                TaskEvent,
                (
                    when,
                    node._number,
                    spec.name,
                    spec.kind,
                    state,
                    node._attempt,
                    "" if node._lane is None else node._lane.name,
                    worker,
                    error,
                    when + self._to_wall,
                    self._run,
                    workflow_id,
                    spec.resources,
                    depends_on,
                    block,
                ),
            )
        )

    def tell_down(self, lane: Lane, error: BaseException | None, when: float | None = None) -> None:
        """Note that *lane*'s backend is down; only while `events` is not None."""
        if when is None:
            when = self.clock()
        self._note(BackendEvent(when, lane.name, "down", error, *self._of(when)))

    def _note(self, event: Event) -> None:
        events = self.events
        assert events is not None
        if not events:
            # Most events come in a turn of the pump, which delivers them; the others need one.
            self._inbox.wake()
        events.append(event)

    def _of(self, when: float) -> tuple[float, str]:
        return when + self._to_wall, self._run

    def _set_wall(self) -> None:
        """Follow the wall clock where it was set; between two sets its times never go back."""
        before, wall, after = self.clock(), time(), self.clock()
        to_wall = wall - (before + after) / 2
        if abs(to_wall - self._to_wall) > STEP + (after - before):
            self._to_wall = to_wall

    def deliver(self) -> None:
        """Hand over what happened since the last time; an error harms nobody else."""
        if not self.events:
            return
        events, self.events = self.events, []
        for observer in list(self._watching):
            began = perf_counter()
            try:
                observer(events)
            except Exception:
                self._raised(observer)
            took = perf_counter() - began
            if took > SLOW and observer not in self._slow:
                self._slow.add(observer)
                log.warning(
                    "observer %r held the event loop for %.1f s: nothing else ran meanwhile; "
                    "long work belongs into a thread",
                    observer,
                    took,
                )
        self._set_wall()

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
        self._slow.discard(observer)
        if not self._watching:
            self.events = None
            if not self._timed:
                self._inbox.clock = None

    async def close(
        self,
        lanes: Iterable[tuple[Lane, BaseException | None]],
        outcome: str,
        error: BaseException | None,
    ) -> None:
        """The run is over, and so are its backends, each with an error or without.

        Returns when the listeners have heard it, or after two seconds.
        """
        if self.events is None:
            return
        for lane, problem in lanes:
            if lane.lost is None:
                self.tell_down(lane, problem)
        when = self.clock()
        self._note(RunEvent(when, "ended", outcome, error, *self._of(when)))
        self.deliver()
        await asyncio.gather(*(listener.close() for listener in self._listeners))
