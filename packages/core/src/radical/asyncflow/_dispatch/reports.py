"""Taking in what backends report: the way of every task's end, and so a hot one."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from .._task.future import NO_KWARGS, TaskFuture, extras_of
from ..backend import AnyReport
from ..backend._inbox import LOST, Inbox
from ..model import TaskState
from .outcomes import Outcomes
from .run import Run

__all__ = ["Reports"]

log = logging.getLogger("radical.asyncflow")

SUBMITTED, RUNNING = TaskState.SUBMITTED, TaskState.RUNNING
DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED

_set_result = asyncio.Future.set_result


class Reports:
    """The reports of one run's backends.

    Attributes:
        receive: takes in at most so many of what waits; returns how many that were.
        dropped: how many reports changed nothing, by reason.
    """

    __slots__ = ("_outcomes", "_run", "dropped", "receive")

    def __init__(self, run: Run, outcomes: Outcomes, inbox: Inbox) -> None:
        self._run = run
        self._outcomes = outcomes
        self.dropped: Counter[str] = Counter()
        self.receive = _receiver(run, outcomes, inbox, self)

    def drop(self, report: AnyReport) -> None:
        """Count a report that is not about the current attempt of an unfinished task."""
        number, attempt, state = report[:3]
        node = self._run.scheduler.tasks.get(number)
        if node is None:
            reason = "unknown" if number < 1 else "finished"
        else:
            reason = "stale attempt" if node._attempt != attempt else "illegal"
        if reason == "finished" and state is not DONE and state is not FAILED:
            # A late RUNNING, or the CANCELLED of work whose future ended before: usual.
            return
        self.dropped[reason] += 1
        log.debug("dropped a report: %s task %s, attempt %s", reason, number, attempt)

    def drop_malformed(self, report: object) -> None:
        """Count what is no report at all."""
        # Not the report itself: results do not belong in a log.
        log.exception("a malformed report was dropped, a %s", type(report).__name__)
        self.dropped["malformed"] += 1

    def take_other(self, report: AnyReport) -> None:
        """Take in a report that is not about a current attempt: a backend's loss, or a stray."""
        number, index, _, error, when = report
        if number == LOST:
            self._outcomes.lose(list(self._run.lanes.values())[index], error, when)
        else:
            self.drop(report)


def _receiver(run: Run, outcomes: Outcomes, inbox: Inbox, to: Reports) -> Callable[[int], int]:
    """Make `Reports.receive`: a closure, for the reasons that `sending` gives."""
    take = inbox.reports.popleft
    observers = run.observers
    tasks = run.scheduler.tasks
    succeed = run.scheduler.succeed
    drop = to.drop

    def receive(limit: int) -> int:
        recording = run.journal is not None
        count = 0
        for count in range(1, limit + 1):
            try:
                report = take()
            except IndexError:
                count -= 1
                break
            try:
                number, attempt, state, value, when = report
                node: Any = tasks.get(number)
                current = node is not None and node._attempt == attempt
            except Exception:
                to.drop_malformed(report)
                continue
            if not current:
                to.take_other(report)
                continue
            try:
                stage = node._stage
                extras = node._extras
                if stage is not SUBMITTED and stage is not RUNNING:
                    drop(report)
                elif (extras is not None and extras.work is not None) or (
                    recording and node._entry.waiting
                ):
                    # A block, or a task that was done and whose outputs are being checked,
                    # or whose result is on its way to the journal.
                    drop(report)
                elif state is DONE:
                    if extras is None and type(node) is TaskFuture and not recording:
                        # A plain function: by far the most frequent end, and no more to it.
                        succeed(node)
                        node._args = ()
                        node._kwargs = NO_KWARGS
                        _set_result(node, value)
                        if observers.events is not None:
                            observers.tell(node, DONE, None, when)
                    else:
                        outcomes.done(node, value, when)
                elif state is RUNNING:
                    if stage is SUBMITTED:
                        node._stage = RUNNING
                        if node._call.spec.timeout is not None or recording:
                            outcomes.began(node, value, when)
                        elif value is not None and (
                            extras is not None or observers.events is not None
                        ):
                            extras_of(node).worker = value
                        if observers.events is not None:
                            observers.tell(node, RUNNING, None, when)
                elif state is FAILED:
                    outcomes.attempt_failed(node, value, when)
                elif state is CANCELLED:
                    outcomes.ended(node, when)
                else:
                    drop(report)
            except Exception as error:
                outcomes.engine_failed(node, error)
        return count

    return receive
