"""Take in what backends report: every task passes here at its end, so this path is hot."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from .._task.future import NO_KWARGS, TaskFuture, extras_of, set_result
from ..backend import AnyReport
from ..backend._inbox import LOST, OUTPUT, SERVING, TRACE, Inbox
from ..model import TaskState
from .outcomes import Outcomes
from .run import Run
from .services import Services

__all__ = ["Reports"]

log = logging.getLogger("radical.asyncflow")

SUBMITTED, RUNNING = TaskState.SUBMITTED, TaskState.RUNNING
DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED

_set_result = set_result


class Reports:
    """The reports of one run's backends.

    Attributes:
        receive: a function of a number: it takes in at most that many of the waiting reports,
            and returns how many it took.
        dropped: the number of reports that changed nothing, by reason.
    """

    __slots__ = ("_outcomes", "_run", "_services", "dropped", "receive")

    def __init__(self, run: Run, outcomes: Outcomes, services: Services, inbox: Inbox) -> None:
        self._run = run
        self._outcomes = outcomes
        self._services = services
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
            # A late RUNNING, or the CANCELLED of work whose future ended before, is usual.
            return
        self.dropped[reason] += 1
        log.debug("dropped a report: %s task %s, attempt %s", reason, number, attempt)

    def drop_malformed(self, report: object) -> None:
        """Count and log an object that is not a report."""
        # The log gets its type only, because results do not belong in a log.
        log.exception("a malformed report was dropped, a %s", type(report).__name__)
        self.dropped["malformed"] += 1

    def take_output(
        self, node: TaskFuture[Any], text: str, offset: int, when: float | None
    ) -> None:
        """Tell observers a part of what *node*, which runs, has put out."""
        if self._run.observers.events is not None:
            self._run.observers.tell_output(node, text, offset, when)

    def take_other(self, report: AnyReport) -> None:
        """Take in a report that is about no current attempt of an unfinished task.

        It is about a lost backend or a service, or one to drop.
        """
        number, index, _, value, when = report
        if number == LOST:
            error, unbegun = value
            for lane in tuple(self._run.lanes.values()):
                if lane.index == index:
                    self._outcomes.lose(lane, error, unbegun, when)
                    self._services.lose(lane)
        elif number == SERVING:
            self._services.take_serving(report)
        elif report[2] is TRACE:
            if not self._services.take_trace(report):
                self.drop(report)
        elif report[2] is OUTPUT or not self._services.take_end(report):
            self.drop(report)


def _receiver(run: Run, outcomes: Outcomes, inbox: Inbox, to: Reports) -> Callable[[int], int]:
    """Make the function `Reports.receive`; it is a closure for the reasons in `sending`."""
    take = inbox.reports.popleft
    observers = run.observers
    tasks = run.scheduler.tasks
    succeed = run.scheduler.succeed
    drop = to.drop

    def receive(limit: int) -> int:
        recording = run.journal is not None
        quiet = not (recording or inbox.eager)  # nobody needs the time of a RUNNING
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
                if (
                    state is RUNNING
                    and quiet
                    and extras is None
                    and not observers.watched
                    and stage is SUBMITTED
                ):
                    node._stage = RUNNING
                elif stage is not SUBMITTED and stage is not RUNNING:
                    drop(report)
                elif (extras is not None and extras.work is not None) or (
                    recording and node._entry.waiting
                ):
                    # It is a block, or it is done and its outputs are being checked or its
                    # result is being written to the journal.
                    drop(report)
                elif state is DONE:
                    if extras is None and type(node) is TaskFuture and not recording:
                        # A plain function succeeded: by far the most frequent end.
                        if node._dependents is None:  # as `Scheduler.succeed`, without a call
                            node._stage = DONE
                            node._followers = None
                            del tasks[number]
                            if not tasks:
                                tasks.clear()
                        else:
                            succeed(node)
                        node._args = ()
                        node._kwargs = NO_KWARGS
                        node._context = None
                        _set_result(node, value)
                        if observers.watched:
                            observers.succeeded(node, stage, when)
                    else:
                        outcomes.work_done(node, value, when)
                elif state is RUNNING:
                    if stage is SUBMITTED:
                        node._stage = RUNNING
                        if node._call.spec.timeout is not None or recording:
                            outcomes.work_started(node, value, when)
                        elif value is not None and (
                            extras is not None or observers.events is not None
                        ):
                            extras_of(node).worker = value
                        if observers.watched:
                            observers.began(node, when)
                    elif when is not None and run.journal is not None:
                        run.journal.correct_start(node, when)
                elif state is FAILED:
                    outcomes.attempt_failed(node, value, when)
                elif state is CANCELLED:
                    outcomes.work_ended(node, when)
                elif state is TRACE:
                    if recording:
                        node._entry.trace = value
                elif state is OUTPUT:
                    to.take_output(node, value[0], value[1], when)
                else:
                    drop(report)
            except Exception as error:
                outcomes.engine_failed(node, error)
        return count

    return receive
