"""Stop a run in order before its time is over: start nothing that cannot finish.

A batch system gives a job a walltime and kills it when that is over.  An engine that knows
its walltime stops before, so that its journal has everything that was done, and the next job
can continue from there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._discovery.settings import WALLTIME
from .._dispatch.halt import halt
from .._task.future import TaskFuture
from ..errors import ConfigurationError, PreemptedError
from ..events import Event, TaskEvent
from ..model import Preemption, TaskState, parse_duration
from ._launch import BACKEND_GRACE_S

if TYPE_CHECKING:
    from datetime import timedelta

    from .._dispatch.dispatcher import Dispatcher

__all__ = ["EXIT_CODE", "OrderlyStop", "is_preemption", "prepare"]

log = logging.getLogger("radical.asyncflow")

EXIT_CODE = 75
"""The exit code of a program that was preempted and should run again (EX_TEMPFAIL)."""

SHUTDOWN_MARGIN_S = BACKEND_GRACE_S
"""Seconds before the end at which everything is stopped, so that the shutdown has time."""

HELD_CHECK_INTERVAL_S = 0.1
"""Seconds between two checks whether a task still runs that held tasks could wait for."""

RUNNING, DONE, READY = TaskState.RUNNING, TaskState.DONE, TaskState.READY


def prepare(
    walltime: float | str | timedelta | None, preemption: Preemption | None
) -> Callable[[Dispatcher], OrderlyStop] | None:
    """Return a function that makes the `OrderlyStop` of an engine; its time runs from now.

    *walltime* is the short form of a `Preemption` that sets nothing else.  If neither sets an
    end, the environment may; if nothing does, this returns None.

    Raises:
        ConfigurationError: both are given, or a time is not valid or in the past.
    """
    settings = _settings(walltime, preemption)
    now = time.monotonic()
    ends = []
    if settings.walltime is not None:
        ends.append(parse_duration(settings.walltime))
    if settings.deadline is not None:
        ends.append(settings.deadline.timestamp() - time.time())
        if ends[-1] <= 0:
            raise ConfigurationError(
                f"deadline {settings.deadline} has passed; give one in the future"
            )
    if not ends and not settings.stop_on_sigterm:
        return None
    left = min(ends, default=None)
    grace = parse_duration(settings.grace)

    def make(dispatcher: Dispatcher) -> OrderlyStop:
        spent = time.monotonic() - now  # the time that the backends took to start
        remaining = None if left is None else max(left - spent, 0.0)
        return OrderlyStop(
            dispatcher, left=remaining, grace=grace, sigterm=settings.stop_on_sigterm
        )

    return make


def _settings(
    walltime: float | str | timedelta | None, preemption: Preemption | None
) -> Preemption:
    if preemption is not None and not isinstance(preemption, Preemption):
        raise ConfigurationError(f"preemption must be a Preemption, not {preemption!r}")
    if walltime is not None:
        if preemption is not None:
            raise ConfigurationError(
                "walltime= is short for preemption=Preemption(walltime=...): give one of them"
            )
        return Preemption(walltime=walltime)
    settings = preemption or Preemption()
    inherited = os.environ.get(WALLTIME)
    if inherited and settings.walltime is None and settings.deadline is None:
        try:
            return replace(settings, walltime=inherited)
        except ConfigurationError as error:
            raise ConfigurationError(f"{WALLTIME}: {error}") from None
    return settings


def is_preemption(error: BaseException) -> bool:
    """Tell whether *error*, or each error that it groups, comes from a preemption."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_preemption(one) for one in error.exceptions)
    return isinstance(error, PreemptedError) or isinstance(error.__cause__, PreemptedError)


class OrderlyStop:
    """The orderly stop of one engine when its time is over.

    Args:
        left: seconds from now to the end; None if only a signal begins the stop.
        grace: seconds that running tasks have to finish, once nothing new may start.
        sigterm: True to stop on SIGTERM, which needs the main thread.

    Attributes:
        reason: the reason why the run stops; None while it does not.
    """

    def __init__(
        self, dispatcher: Dispatcher, *, left: float | None, grace: float, sigterm: bool
    ) -> None:
        self._dispatcher = dispatcher
        self._loop = dispatcher.run.loop
        self._grace = grace
        self._unknown_duration = grace if left is None else min(grace, left / 10)
        self._expected: dict[str, _Expectation] = {}
        self._started: dict[int, float] = {}
        self._held: list[TaskFuture[Any]] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._sigterm = sigterm
        self._last_moment: float | None = None
        self.reason: str | None = None
        dispatcher.run.hold_back = self.hold_back
        self._stop_observing = dispatcher.observe(self._learn)
        if left is not None:
            self._until(left - min(SHUTDOWN_MARGIN_S, left / 10), "its walltime is nearly over")
        if sigterm:
            try:
                self._loop.add_signal_handler(signal.SIGTERM, self._sigterm_received)
            except (RuntimeError, ValueError) as error:
                raise ConfigurationError(
                    "stop_on_sigterm needs an event loop in the main thread, on a system with "
                    f"signals: {error}"
                ) from error

    def hold_back(self, node: TaskFuture[Any]) -> bool:
        """Tell whether *node*, which is ready, may not start any more, and hold it then."""
        if self._last_moment is None or node._lane is None:
            return False
        expected = self._expected.get(node.name)
        seconds_needed = self._unknown_duration if expected is None else expected.seconds
        if self.reason is None and self._loop.time() + seconds_needed <= self._last_moment:
            return False
        self._held.append(node)
        if len(self._held) == 1:
            log.info("task %r is not started: it would not finish before the end", node.name)
            self._timers.append(self._loop.call_later(HELD_CHECK_INTERVAL_S, self._check_held))
        return True

    def close(self) -> None:
        """Cancel the timers, and stop observing the run and the signal."""
        for timer in self._timers:
            timer.cancel()
        self._held.clear()
        self._stop_observing()
        if self._sigterm:
            self._sigterm = False
            self._loop.remove_signal_handler(signal.SIGTERM)

    def _until(self, seconds: float, reason: str) -> None:
        self._last_moment = self._loop.time() + seconds
        self._timers.append(self._loop.call_at(self._last_moment, self._halt, reason))

    def _sigterm_received(self) -> None:
        if self.reason is None:
            self.reason = "SIGTERM"
            log.warning(
                "SIGTERM: running tasks have %g s to finish, and no new ones start", self._grace
            )
            end = self._loop.time() + self._grace
            if self._last_moment is None or end < self._last_moment:
                self._until(self._grace, "SIGTERM")
            self._timers.append(self._loop.call_later(HELD_CHECK_INTERVAL_S, self._check_held))

    def _check_held(self) -> None:
        """Halt the run if no task runs any more that could still finish."""
        held = {id(node) for node in self._held}
        for node in self._dispatcher.run.scheduler.unfinished():
            if node._lane is not None and (
                node._stage > READY or (node._stage is READY and id(node) not in held)
            ):
                self._timers.append(self._loop.call_later(HELD_CHECK_INTERVAL_S, self._check_held))
                return
        if self._held or self.reason is not None:
            self._halt(self.reason or "the rest would not finish before its walltime is over")

    def _halt(self, reason: str) -> None:
        self.reason = reason
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._held.clear()
        unfinished = len(self._dispatcher.run.scheduler.unfinished())
        log.warning(
            "run %s stops, %s: %d tasks unfinished", self._dispatcher.run.uid, reason, unfinished
        )

        def make_error(node: TaskFuture[Any]) -> PreemptedError:
            how = "ended" if node._stage > READY else "not started"
            return PreemptedError(f"task {node.name!r} was {how}: the run stops, {reason}")

        halt(self._dispatcher.run, self._dispatcher.outcomes, make_error)

    def _learn(self, events: Sequence[Event]) -> None:
        """Learn how long the tasks of each name take."""
        for event in events:
            if not isinstance(event, TaskEvent):
                continue
            if event.state is RUNNING:
                self._started[event.task_id] = event.time
            elif event.state >= DONE or event.state is READY:
                began = self._started.pop(event.task_id, None)
                if began is not None and event.state is DONE:
                    expected = self._expected.setdefault(event.name, _Expectation())
                    expected.learn(event.time - began)


class _Expectation:
    """The expected duration of a task: a moving mean, and a moving deviation from it.

    TCP estimates its round trips in the same way (RFC 6298).
    """

    __slots__ = ("_deviation", "_mean")

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0

    @property
    def seconds(self) -> float:
        assert self._mean is not None
        return self._mean + 4 * self._deviation

    def learn(self, seconds: float) -> None:
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
        else:
            self._deviation += (abs(seconds - self._mean) - self._deviation) / 4
            self._mean += (seconds - self._mean) / 8
