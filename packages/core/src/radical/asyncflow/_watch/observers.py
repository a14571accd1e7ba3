"""Hand the events of a run to its observers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from time import monotonic, perf_counter, time
from typing import TYPE_CHECKING, Any, Literal

from .._display.census import Census, Counts
from ..errors import DependencyFailureError
from ..events import BackendEvent, Event, OutputEvent, RunEvent, ServiceEvent, TaskEvent
from ..model import TaskKind, TaskState

if TYPE_CHECKING:
    from .._task.call import Call
    from .._task.future import TaskFuture
    from .._task.scope import Scope
    from ..backend._inbox import Inbox
    from ..backend._lane import Lane
    from .listener import Listener

__all__ = ["Observer", "Observers"]

log = logging.getLogger("radical.asyncflow")

Observer = Callable[[Sequence[Event]], object]

PENDING, READY = TaskState.PENDING, TaskState.READY
SUBMITTED, RUNNING = TaskState.SUBMITTED, TaskState.RUNNING
DONE, FAILED = TaskState.DONE, TaskState.FAILED

MAX_ERRORS = 3
"""The number of errors after which an observer is not called again."""

SLOW_CALL_S = 0.1
"""Seconds that one call of an observer may hold the loop before a warning is logged."""

WALL_CLOCK_STEP_S = 0.0002
"""Seconds that the wall clock may differ from the last measurement before that is replaced."""

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


class Observers:
    """The observers of one engine, and the displays, for which it counts.

    Attributes:
        clock: the function that returns the time of an event.
        watched: True if there is any of them, so that a task costs the engine two comparisons
            if there is none.
        events: the events that were not delivered yet; None without observers.
        news: those of them that displays get, too.
        census: the counts for the displays; None without any.
    """

    __slots__ = (
        "_began",
        "_displays",
        "_error_counts",
        "_inbox",
        "_keeps_time",
        "_last_census",
        "_listeners",
        "_run",
        "_to_wall",
        "_warned_slow",
        "census",
        "clock",
        "events",
        "news",
        "watched",
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
        self._displays: set[Observer] = set()
        self._last_census: Census | None = None
        self.watched = False
        self.events: list[Event] | None = None
        self.news: list[Event] = []
        self.census: Census | None = None

    def add(self, observer: Observer) -> Callable[[], None]:
        """Call *observer* with events from now on, in the loop.

        Returns:
            A function that ends this.
        """
        self._error_counts[observer] = 0
        if self.events is None:
            self.events = []
            self.watched = True
            self._inbox.clock = self.clock
            self._follow_wall_clock()

        def stop() -> None:
            self.deliver()
            self._remove(observer)

        return stop

    def count(
        self,
        display: Observer,
        changed: Callable[[], None],
        unfinished: Iterable[TaskFuture[Any]],
    ) -> tuple[Census, Callable[[], None]]:
        """Count tasks from now on, beginning with those that are *unfinished*.

        Args:
            display: is called with the events that are rare: failures, and what is about
                backends, services and the run.
            changed: is called when something was counted, once until somebody looks.

        Returns:
            The counts, and a function that ends this.
        """
        self._error_counts[display] = 0
        self._displays.add(display)
        census = self.census
        if census is None:
            census = self._last_census or Census(self._inbox.take_reports)
            self.census = self._last_census = census
            self.watched = True
            census.clear()
            for node in unfinished:
                counts = node._call.counts or self._find_counts(node._call)
                counts.total += 1
                counts.running += node._stage is RUNNING
        census.readers.append(changed)

        def stop() -> None:
            self.deliver()
            if changed in census.readers:
                census.readers.remove(changed)
            self._remove(display)

        return census, stop

    def _find_counts(self, call: Call) -> Counts:
        """Return what counts the tasks of *call*."""
        assert self.census is not None
        spec, lane = call.spec, call.lane
        call.counts = self.census.find(
            spec.name,
            spec.kind is TaskKind.BLOCK,
            "" if lane is None else lane.name,
            spec.resources.total_cores,
        )
        return call.counts

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

    def called(
        self,
        node: TaskFuture[Any],
        dependencies: Iterable[TaskFuture[Any]] | None,
        scope: Scope | None,
    ) -> None:
        """Note that *node* was called; only while `watched`."""
        census = self.census
        if census is not None:
            counts = node._call.counts or self._find_counts(node._call)
            counts.total += 1
            if not census.changed:
                census.note_change()
            if self.events is None:
                return
        depends_on = (
            () if dependencies is None else tuple({other._number: None for other in dependencies})
        )
        block = None if scope is None else scope.block
        if block is not None and block._owner is not node._owner:
            block = None  # of another engine
        self.tell(node, PENDING, None, None, depends_on, None if block is None else block._number)

    def began(self, node: TaskFuture[Any], when: float | None) -> None:
        """Note that *node* runs; only while `watched`."""
        census = self.census
        if census is not None:
            counts = node._call.counts or self._find_counts(node._call)
            counts.running += 1
            if not census.changed:
                census.note_change()
            if self.events is None:
                return
        self.tell(node, RUNNING, None, when)

    def writing(self, node: TaskFuture[Any]) -> Counts | None:
        """Note that the record of *node*, whose work is done, is being written.

        Returns:
            What counts it, for `written`; None if nothing does.
        """
        if self.census is None or node._stage is not RUNNING:
            return None
        counts = node._call.counts or self._find_counts(node._call)
        counts.writing += 1
        return counts

    def written(self, counts: Counts) -> None:
        """Note that a record was written, which *counts* has counted."""
        counts.writing = max(counts.writing - 1, 0)  # 0 if counting began again meanwhile

    def succeeded(self, node: TaskFuture[Any], was: TaskState, when: float | None) -> None:
        """Note that *node*, whose state *was* this, is done; only while `watched`."""
        census = self.census
        if census is not None:
            counts = node._call.counts or self._find_counts(node._call)
            counts.done += 1
            if was is RUNNING:
                counts.running -= 1
            elif was is not SUBMITTED and not counts.is_block:
                counts.reused += 1  # it was never sent
            if not census.changed:
                census.note_change()
            if self.events is None:
                return
        self.tell(node, DONE, None, when)

    def withdrawn(self, node: TaskFuture[Any]) -> None:
        """Note that *node* is about to be taken back, to be sent again."""
        if self.census is not None and node._stage is RUNNING:
            (node._call.counts or self._find_counts(node._call)).running -= 1

    def retried(
        self,
        node: TaskFuture[Any],
        call: Call,
        was: TaskState,
        error: BaseException,
        when: float | None,
    ) -> None:
        """Note that an attempt of *node*, which was a *call*, failed; only while `watched`."""
        census = self.census
        if census is not None:
            counts = call.counts or self._find_counts(call)
            counts.retried += 1
            counts.running -= was is RUNNING
            if not census.changed:
                census.note_change()
        if self.events is not None:
            self.tell(node, READY, error, when)

    def ended(
        self,
        node: TaskFuture[Any],
        was: TaskState,
        state: TaskState,
        error: BaseException | None,
        when: float | None,
        arguments: str | None,
    ) -> None:
        """Note that *node*, whose state *was* this, failed or was cancelled; while `watched`."""
        census = self.census
        if census is not None:
            counts = node._call.counts or self._find_counts(node._call)
            counts.running -= was is RUNNING
            if state is not FAILED:
                counts.cancelled += 1
            else:
                counts.failed += 1
                if isinstance(error, DependencyFailureError):
                    census.skipped += 1
                else:
                    self._note_news(self._event_of(node, state, error, when, arguments=arguments))
            if not census.changed:
                census.note_change()
        if self.events is not None:
            self.tell(node, state, error, when, arguments=arguments)

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
        self._note(self._event_of(node, state, error, when, depends_on, block, arguments))

    def _event_of(
        self,
        node: TaskFuture[Any],
        state: TaskState,
        error: BaseException | None = None,
        when: float | None = None,
        depends_on: tuple[int, ...] = (),
        block: int | None = None,
        arguments: str | None = None,
    ) -> TaskEvent:
        """Return the event that *node* entered *state*."""
        if when is None:
            when = self.clock()
        spec = node._spec
        extras = node._extras
        worker = workflow_id = None
        if extras is not None:
            workflow_id = extras.workflow_id
            if state >= RUNNING or error is not None:
                worker = extras.worker
        return _new(
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
        """Tell that the backend of *lane* came up in the middle of the run, if anybody watches."""
        if self.watched:
            self._note_for_all(
                BackendEvent(lane.since, lane.name, "up", None, *self._wall_and_run(lane.since))
            )

    def tell_backend_down(
        self,
        lane: Lane,
        error: BaseException | None,
        when: float | None = None,
        moved: int = 0,
    ) -> None:
        """Tell that the backend of *lane* is down; only while `watched`."""
        if when is None:
            when = self.clock()
        self._note_for_all(
            BackendEvent(when, lane.name, "down", error, *self._wall_and_run(when), moved)
        )

    def tell_service(
        self,
        node: TaskFuture[Any],
        state: Literal["up", "stopped", "restarted", "lost"],
        error: BaseException | None = None,
        when: float | None = None,
    ) -> None:
        """Tell that the service that *node* runs came to *state*, if anybody watches."""
        if not self.watched:
            return
        if when is None:
            when = self.clock()
        name, number = node._spec.name, node._number
        self._note_for_all(
            ServiceEvent(when, number, name, state, error, *self._wall_and_run(when))
        )

    def _note_for_all(self, event: Event) -> None:
        if self.events is not None:
            self._note(event)
        if self.census is not None:
            self._note_news(event)

    def _note_news(self, event: Event) -> None:
        if not self.news:
            self._inbox.wake()
        self.news.append(event)

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
        events, news = self.events, self.news
        if not events and not news:
            return
        self.news = []
        if events is not None:
            self.events = []
        for observer in list(self._error_counts):
            batch = news if observer in self._displays else events
            if not batch:
                continue
            began = perf_counter()
            try:
                observer(batch)
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
        self._displays.discard(observer)
        if not self._displays:
            self.census = None
        if len(self._error_counts) == len(self._displays):
            self.events = None
            if not self._keeps_time:
                self._inbox.clock = None
        self.watched = bool(self._error_counts)

    async def close(
        self,
        lanes: Iterable[tuple[Lane, BaseException | None]],
        outcome: str,
        error: BaseException | None,
    ) -> None:
        """Tell the observers that the backends, each with an error or without, and the run ended.

        This waits until the listeners have handled it, for at most `listener.END_GRACE_S`.
        """
        if not self.watched:
            return
        for lane, lane_error in lanes:
            if lane.lost is None:
                self.tell_backend_down(lane, lane_error)
        when = self.clock()
        self._note_for_all(RunEvent(when, "ended", outcome, error, *self._wall_and_run(when)))
        self.deliver()
        await asyncio.gather(*(listener.close() for listener in self._listeners))
