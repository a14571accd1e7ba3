"""Taking in what the backends reported, in the engine's loop.

The first terminal report of an attempt wins.  Anything else - an unknown task, an old
attempt, a state that cannot follow - changes nothing, is counted and is logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from ._future import TaskFuture
from ._inbox import LOST, Inbox
from ._outcomes import NO_KWARGS, aux_of
from .backend import TaskId
from .model import TaskState

if TYPE_CHECKING:
    from ._dispatch import Dispatcher

__all__ = ["Reports"]

log = logging.getLogger("radical.asyncflow")

SUBMITTED, RUNNING = TaskState.SUBMITTED, TaskState.RUNNING
DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED

_set_result = asyncio.Future.set_result


class Reports:
    """The reports of one engine's backends.

    Attributes:
        strays: those that were dropped, counted by reason.
    """

    __slots__ = ("_dispatcher", "_inbox", "_observers", "_outcomes", "_scheduler", "strays")

    def __init__(self, dispatcher: Dispatcher, inbox: Inbox) -> None:
        self._dispatcher = dispatcher
        self._inbox = inbox
        self._observers = dispatcher.observers
        self._outcomes = dispatcher.outcomes
        self._scheduler = dispatcher.scheduler
        self.strays: Counter[str] = Counter()

    def receive(self, limit: int) -> int:
        """Take in at most *limit* of what waits; returns how many that were."""
        reports = self._inbox.reports
        observers = self._observers
        outcomes = self._outcomes
        tasks = self._scheduler.tasks
        succeed = self._scheduler.succeed
        recording = self._dispatcher.journal is not None
        count = 0
        while reports and count < limit:
            report = reports.popleft()
            count += 1
            try:
                number, attempt, state, value = report
                node: Any = tasks.get(number)
                if node is None or node.attempt != attempt:
                    self._stray(report)
                    continue
                stage = node.stage
                aux = node.aux
                if stage is not RUNNING and stage is not SUBMITTED:
                    self._stray(report)
                elif aux is not None and aux.preparing is not None:
                    # A block, or a task that was done and whose outputs are being checked.
                    self._stray(report)
                elif state is DONE:
                    if aux is None and type(node) is TaskFuture and not recording:
                        # A plain function: by far the most frequent end, and no more to it.
                        succeed(node)
                        node.args = ()
                        node.kwargs = NO_KWARGS
                        _set_result(node, value)
                        if observers.events is not None:
                            observers.tell(node, DONE)
                    else:
                        outcomes.done(node, value)
                elif state is RUNNING:
                    if stage is SUBMITTED:
                        node.stage = RUNNING
                        if node.spec.timeout is not None or recording:
                            outcomes.began(node, value)
                        elif value is not None and (
                            aux is not None or observers.events is not None
                        ):
                            aux_of(node).worker = value
                        if observers.events is not None:
                            observers.tell(node, RUNNING)
                elif state is FAILED:
                    outcomes.attempt_failed(node, value)
                elif state is CANCELLED:
                    outcomes.ended(node)
                else:
                    self._stray(report)
            except Exception:
                # Not the report itself: results do not belong in a log.
                log.exception("a malformed report was dropped, a %s", type(report).__name__)
                self.strays["malformed"] += 1
        return count

    def _stray(self, report: tuple[TaskId, int, TaskState, Any]) -> None:
        number, attempt, state, value = report
        if number == LOST:
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
