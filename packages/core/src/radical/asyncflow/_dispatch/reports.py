"""Taking in what the backends reported, in the engine's loop.

The first terminal report of an attempt wins.  Anything else - an unknown task, an old
attempt, a state that cannot follow - changes nothing, is counted and is logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._task.future import NO_KWARGS, TaskFuture, aux_of
from ..backend import AnyReport
from ..backend._inbox import LOST, Inbox
from ..model import TaskState

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

__all__ = ["Reports"]

log = logging.getLogger("radical.asyncflow")

SUBMITTED, RUNNING = TaskState.SUBMITTED, TaskState.RUNNING
DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED

_set_result = asyncio.Future.set_result


class Reports:
    """The reports of one engine's backends.

    Attributes:
        receive: takes in at most so many of what waits; returns how many that were.
        strays: those that were dropped, counted by reason.
    """

    __slots__ = ("_dispatcher", "_observers", "_outcomes", "_scheduler", "receive", "strays")

    def __init__(self, dispatcher: Dispatcher, inbox: Inbox) -> None:
        self._dispatcher = dispatcher
        self._observers = dispatcher.observers
        self._outcomes = dispatcher.outcomes
        self._scheduler = dispatcher.scheduler
        self.strays: Counter[str] = Counter()
        self.receive = _receiver(dispatcher, inbox, self)

    def stray(self, report: AnyReport) -> None:
        number, attempt, state, value, when = report
        if number == LOST:
            self._observers.when = when
            self._outcomes.lose(self._dispatcher.by_index[attempt], value)
            return
        node = self._scheduler.tasks.get(number)
        if node is None:
            reason = "finished" if 0 < number <= self._dispatcher.number else "unknown"
        else:
            reason = "stale attempt" if node.attempt != attempt else "illegal"
        if reason == "finished" and state is not DONE and state is not FAILED:
            # A late RUNNING, or the CANCELLED of work whose future ended before: usual.
            return
        self.strays[reason] += 1
        log.debug("dropped a report: %s task %s, attempt %s", reason, number, attempt)


def _receiver(dispatcher: Dispatcher, inbox: Inbox, to: Reports) -> Callable[[int], int]:
    """What `Reports.receive` is: a closure, for the reasons that `_sending` gives."""
    take = inbox.reports.popleft
    observers = dispatcher.observers
    outcomes = dispatcher.outcomes
    tasks = dispatcher.scheduler.tasks
    succeed = dispatcher.scheduler.succeed
    stray = to.stray

    def receive(limit: int) -> int:
        recording = dispatcher.journal is not None
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
                if node is None or node.attempt != attempt:
                    stray(report)
                    continue
                stage = node.stage
                aux = node.aux
                if stage is not SUBMITTED and stage is not RUNNING:
                    stray(report)
                elif (aux is not None and aux.preparing is not None) or (
                    recording and node.entry.waiting
                ):
                    # A block, or a task that was done and whose outputs are being checked,
                    # or whose result is on its way to the journal.
                    stray(report)
                elif state is DONE:
                    if aux is None and type(node) is TaskFuture and not recording:
                        # A plain function: by far the most frequent end, and no more to it.
                        succeed(node)
                        node.args = ()
                        node.kwargs = NO_KWARGS
                        _set_result(node, value)
                        if observers.events is not None:
                            observers.tell(node, DONE, None, when)
                    else:
                        observers.when = when
                        outcomes.done(node, value)
                elif state is RUNNING:
                    if stage is SUBMITTED:
                        node.stage = RUNNING
                        if node.call.spec.timeout is not None or recording:
                            observers.when = when
                            outcomes.began(node, value)
                        elif value is not None and (
                            aux is not None or observers.events is not None
                        ):
                            aux_of(node).worker = value
                        if observers.events is not None:
                            observers.tell(node, RUNNING, None, when)
                elif state is FAILED:
                    observers.when = when
                    outcomes.attempt_failed(node, value)
                elif state is CANCELLED:
                    observers.when = when
                    outcomes.ended(node)
                else:
                    stray(report)
            except Exception:
                # Not the report itself: results do not belong in a log.
                log.exception("a malformed report was dropped, a %s", type(report).__name__)
                to.strays["malformed"] += 1
        observers.when = None
        return count

    return receive
