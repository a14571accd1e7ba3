"""How a report gets from any thread into the engine's loop.

Reports gather in a deque, which any thread may extend; the loop is woken once however
many wait, because the wake-up (a write to a pipe) costs fifty times what an append
does.  The flag `awake` means that somebody will look; whoever looks clears it before
the last look, so a report that comes in between is either seen or wakes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import get_ident

from ..model import TaskState
from . import AnyReport, Report, TaskId

__all__ = ["LOST", "Inbox", "Sink"]

log = logging.getLogger("radical.asyncflow")

RUNNING, DONE = TaskState.RUNNING, TaskState.DONE
FAILED, CANCELLED = TaskState.FAILED, TaskState.CANCELLED
LOST: TaskId = -1
"""The task id of a report that is about the whole backend; its attempt is the lane."""


class Inbox:
    """Reports that the engine has not looked at.

    Attributes:
        reports: what was reported.
        eager: wake the loop for a RUNNING report too, not only for an end.
        clock: gives a report its time; None while nobody watches.
    """

    __slots__ = ("_look", "_loop", "_thread", "awake", "clock", "eager", "reports")

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], None]) -> None:
        self._loop = loop
        self._look = look
        self._thread = get_ident()
        self.reports: deque[AnyReport] = deque()
        self.awake = False
        self.eager = False
        self.clock: Callable[[], float] | None = None

    def take_reports(self) -> None:
        """Have the engine look now, if something was reported; a no-op in other threads."""
        if self.reports and get_ident() == self._thread:
            self._look()

    def wake(self) -> None:
        """Have the engine look soon; from any thread."""
        if self.awake:
            return
        self.awake = True
        if get_ident() == self._thread:
            self._loop.call_soon(self._look)
            return
        try:
            self._loop.call_soon_threadsafe(self._look)
        except RuntimeError:
            # The loop was closed under a running task; nobody is left to be told.
            log.debug("a report came after the event loop was closed")


class Sink:
    """The `ReportSink` of one backend."""

    __slots__ = ("_inbox", "_lane", "_uid", "_work_dir")

    def __init__(self, inbox: Inbox, lane: int, uid: str, work_dir: Callable[[], Path]) -> None:
        self._inbox = inbox
        self._lane = lane
        self._uid = uid
        self._work_dir = work_dir

    @property
    def uid(self) -> str:
        return self._uid

    def work_dir(self) -> Path:
        return self._work_dir()

    @property
    def watched(self) -> bool:
        return self._inbox.clock is not None

    def report(self, reports: Iterable[AnyReport]) -> None:
        inbox = self._inbox
        clock = inbox.clock
        if clock is not None:
            now = clock()
            reports = [
                report if report[4] is not None else (*report[:4], now) for report in reports
            ]
        inbox.reports.extend(reports)
        if not inbox.awake:
            inbox.wake()

    def running(self, task_id: TaskId, attempt: int, worker: str | None = None) -> None:
        inbox = self._inbox
        clock = inbox.clock
        inbox.reports.append(
            (task_id, attempt, RUNNING, worker, None if clock is None else clock())
        )
        if inbox.eager and not inbox.awake:
            inbox.wake()

    def done(self, task_id: TaskId, attempt: int, value: object) -> None:
        inbox = self._inbox
        clock = inbox.clock
        inbox.reports.append((task_id, attempt, DONE, value, None if clock is None else clock()))
        if not inbox.awake:
            inbox.wake()

    def failed(self, task_id: TaskId, attempt: int, error: BaseException) -> None:
        self.report((Report(task_id, attempt, FAILED, error),))

    def cancelled(self, task_id: TaskId, attempt: int) -> None:
        self.report((Report(task_id, attempt, CANCELLED),))

    def lost(self, error: BaseException) -> None:
        self.report((Report(LOST, self._lane, FAILED, error),))
