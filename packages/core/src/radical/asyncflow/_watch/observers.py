"""Hand the events of a run to its observers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from time import monotonic, perf_counter, time
from typing import TYPE_CHECKING, Any, Literal

from ..events import BackendEvent, Event, OutputEvent, RunEvent, ServiceEvent, TaskEvent
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

MAX_ERRORS = 3
"""The number of errors after which an observer is not called again."""

SLOW_CALL_S = 0.1
"""Seconds that one call of an observer may hold the loop before a warning is logged."""

WALL_CLOCK_STEP_S = 0.0002
"""Seconds that the wall clock may differ from the last measurement before that is replaced."""

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


class Observers:
    """The observers of one engine.

    Attributes:
        clock: the function that returns the time of an event.
        events: the events that were not delivered yet; None without observers, so that an
            event then costs the engine one comparison.
    """

    __slots__ = (
        "_began",
        "_error_counts",
        "_inbox",
        "_keeps_time",
        "_listeners",
        "_run",
        "_to_wall",
        "_warned_slow",
        "clock",
        "events",
    )  # fmt: skip

    def __init__(self, run: str, inbox: Inbox) -> None:
        self._run = run
        self._inbox = inbox
        self._error_counts: dict[Observer, int] = {}
        self._listeners: list[Listener] = []
        self._warned_slow: set[Observer] = set()
        self._to_wall = 0.0
        self.clock = monotonic
        self._began = self.clock()
        self._keeps_time = False
        self.events: list[Event] | None = None

    def add(self, observer: Observer) -> Callable[[], None]:
        """Call *observer* with events from now on, in the loop.

        Returns:
            A function that ends this.
        """
        self._error_counts[observer] = 0
        if self.events is None:
            self.events = []
            self._inbox.clock = self.clock
            self._follow_wall_clock()

        def stop() -> None:
            self.deliver()
            self._remove(observer)

        return stop

    def keep_time(self) -> None:
        """Give every report a time from now on, because the journal needs it."""
        self._keeps_time = True
        self._inbox.clock = self.clock

    def listen(self, listeners: Sequence[Listener], lanes: Iterable[Lane]) -> None:
        """Add *listeners*, which have their own threads, and tell them how the run began."""
        if not listeners:
            return
        for listener in listeners:
            self._listeners.append(listener)
            self.add(listener)
        assert self.events is not None
        self.events.append(
            RunEvent(self._began, "begun", "", None, *self._wall_and_run(self._began))
        )
        for lane in lanes:
            up = BackendEvent(lane.since, lane.name, "up", None, *self._wall_and_run(lane.since))
            self.events.append(up)
        self.deliver()

    def add_task(
        self,
        node: TaskFuture[Any],
        dependencies: Iterable[TaskFuture[Any]] | None,
        scope: Scope | None,
    ) -> None:
        """Add the event that *node* was called; only while `events` is not None."""
        depends_on = (
            () if dependencies is None else tuple({other._number: None for other in dependencies})
        )
        block = None if scope is None else scope.block
        if block is not None and block._owner is not node._owner:
            block = None  # of another engine
        self.tell(node, PENDING, None, None, depends_on, None if block is None else block._number)

    def tell(
        self,
        node: TaskFuture[Any],
        state: TaskState,
        error: BaseException | None = None,
        when: float | None = None,
        depends_on: tuple[int, ...] = (),
        block: int | None = None,
        arguments: str | None = None,
    ) -> None:
        """Add the event that *node* entered *state*; only while `events` is not None."""
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
                    arguments,
                ),
            )
        )

    def tell_output(
        self, node: TaskFuture[Any], text: str, offset: int, when: float | None
    ) -> None:
        """Add the event that *node* put out *text*; only while `events` is not None."""
        if when is None:
            when = self.clock()
        extras = node._extras
        self._note(
            OutputEvent(
                *(when, node._number, node._spec.name, text, offset, node._attempt),
                *(node._lane.name, *self._wall_and_run(when)),
                None if extras is None else extras.workflow_id,
            )
        )

    def tell_backend_up(self, lane: Lane) -> None:
        """Add the event that the backend of *lane* came up in the middle of the run."""
        if self.events is not None:
            self._note(
                BackendEvent(lane.since, lane.name, "up", None, *self._wall_and_run(lane.since))
            )

    def tell_backend_down(
        self,
        lane: Lane,
        error: BaseException | None,
        when: float | None = None,
        moved: int = 0,
    ) -> None:
        """Add the event that the backend of *lane* is down; only while `events` is not None."""
        if when is None:
            when = self.clock()
        self._note(BackendEvent(when, lane.name, "down", error, *self._wall_and_run(when), moved))

    def tell_service(
        self,
        node: TaskFuture[Any],
        state: Literal["up", "stopped", "restarted", "lost"],
        error: BaseException | None = None,
        when: float | None = None,
    ) -> None:
        """Add the event that the service that *node* runs came to *state*, if anybody watches."""
        if self.events is None:
            return
        if when is None:
            when = self.clock()
        name, number = node._spec.name, node._number
        self._note(ServiceEvent(when, number, name, state, error, *self._wall_and_run(when)))

    def _note(self, event: Event) -> None:
        events = self.events
        assert events is not None
        if not events:
            # A turn of the pump delivers the events; one that comes outside of it needs another.
            self._inbox.wake()
        events.append(event)

    def _wall_and_run(self, when: float) -> tuple[float, str]:
        return when + self._to_wall, self._run

    def _follow_wall_clock(self) -> None:
        """Measure how far the wall clock is ahead of `clock`, in case somebody set it.

        Between two such changes the times of events never go back.
        """
        before, wall, after = self.clock(), time(), self.clock()
        to_wall = wall - (before + after) / 2
        if abs(to_wall - self._to_wall) > WALL_CLOCK_STEP_S + (after - before):
            self._to_wall = to_wall

    def deliver(self) -> None:
        """Call the observers with the events since the last time, and guard each call."""
        if not self.events:
            return
        events, self.events = self.events, []
        for observer in list(self._error_counts):
            began = perf_counter()
            try:
                observer(events)
            except Exception:
                self._count_error(observer)
            took = perf_counter() - began
            if took > SLOW_CALL_S and observer not in self._warned_slow:
                self._warned_slow.add(observer)
                log.warning(
                    "observer %r held the event loop for %.1f s, and nothing else could run: "
                    "put long work into a thread",
                    observer,
                    took,
                )
        self._follow_wall_clock()

    def _count_error(self, observer: Observer) -> None:
        if observer not in self._error_counts:
            log.exception("observer %r raised in its last call", observer)
            return
        self._error_counts[observer] += 1
        errors = self._error_counts[observer]
        if errors == 1:
            log.exception("observer %r raised; the run goes on", observer)
        if errors >= MAX_ERRORS:
            log.warning("observer %r raised %d times and is not called again", observer, errors)
            self._remove(observer)

    def _remove(self, observer: Observer) -> None:
        self._error_counts.pop(observer, None)
        self._warned_slow.discard(observer)
        if not self._error_counts:
            self.events = None
            if not self._keeps_time:
                self._inbox.clock = None

    async def close(
        self,
        lanes: Iterable[tuple[Lane, BaseException | None]],
        outcome: str,
        error: BaseException | None,
    ) -> None:
        """Tell the observers that the backends, each with an error or without, and the run ended.

        This waits until the listeners have handled it, for at most `listener.END_GRACE_S`.
        """
        if self.events is None:
            return
        for lane, lane_error in lanes:
            if lane.lost is None:
                self.tell_backend_down(lane, lane_error)
        when = self.clock()
        self._note(RunEvent(when, "ended", outcome, error, *self._wall_and_run(when)))
        self.deliver()
        await asyncio.gather(*(listener.close() for listener in self._listeners))
