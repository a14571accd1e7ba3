"""Bring reports from any thread into the engine's loop.

Reports gather in a deque, which any thread may extend.  The loop is woken once for however
many of them, because waking it (a write to a pipe) costs fifty times as much as an append.
The flag `awake` means that the engine will look.  The engine clears the flag before its last
look, so a report that comes in between is either seen or wakes the loop again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from threading import get_ident
from time import sleep
from typing import Any

from ..model import TaskState
from ._contract import AnyReport, Report, Serving, TaskId, TaskTrace

__all__ = ["LOST", "OUTPUT", "SERVING", "TRACE", "Inbox", "Sink"]

log = logging.getLogger("radical.asyncflow")

RUNNING, DONE = TaskState.RUNNING, TaskState.DONE
FAILED, CANCELLED = TaskState.FAILED, TaskState.CANCELLED
LOST: TaskId = -1
"""The task id of a report about the loss of a whole backend.

Its attempt is the index of the lane; its value is the error, and the ids of the tasks that have
not begun there.
"""
SERVING: TaskId = -2
"""The task id of a report about a service; its value holds the id, the attempt and the rest."""

TRACE: Any = "TRACE"
"""What stands in the place of a state before the end of a task; the value is a `TaskTrace`."""

OUTPUT: Any = "OUTPUT"
"""What stands in the place of a state where a task puts something out; the value is the text and
its offset."""


MOST_UNREAD = 2000
"""The number of reports beyond which a thread that reports results gives way to the engine."""


class Inbox:
    """The reports that the engine has not taken in yet.

    Attributes:
        loop: the loop of the engine.
        reports: those reports, the oldest first.
        awake: True if the engine will look without being woken.
        eager: True if a RUNNING report also wakes the loop, and not only the end of a task.
        keeps_output, keeps_usage: True if the run keeps what tasks print, and use.
        clock: the function that gives a report its time; None while nobody needs it.
    """

    __slots__ = (
        "_look",
        "_thread",
        "awake",
        "clock",
        "eager",
        "keeps_output",
        "keeps_usage",
        "loop",
        "reports",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], None]) -> None:
        self.loop = loop
        self._look = look
        self._thread = get_ident()
        self.reports: deque[AnyReport] = deque()
        self.awake = False
        self.eager = False
        self.keeps_output = self.keeps_usage = False
        self.clock: Callable[[], float] | None = None

    def take_reports(self) -> None:
        """Let the engine look now if something was reported; in another thread, do nothing."""
        if self.reports and get_ident() == self._thread:
            self._look()

    def give_way(self) -> None:
        """Let another thread have the interpreter, because the engine is far behind.

        Without this, threads that run short tasks would keep it from the engine, and the values
        of all that they have done would pile up.
        """
        if get_ident() != self._thread:
            sleep(0)

    def wake(self) -> None:
        """Let the engine look soon; any thread may call this."""
        if self.awake:
            return
        self.awake = True
        if get_ident() == self._thread:
            self.loop.call_soon(self._look)
            return
        try:
            self.loop.call_soon_threadsafe(self._look)
        except RuntimeError:
            # The loop was closed while a task ran, so nobody waits for the report.
            log.debug("a report came after the event loop was closed")


class Sink:
    """The `ReportSink` of one backend.

    Attributes:
        told_loss: True once the backend has reported its loss, of which the engine may not know
            yet.
        is_up: True once the backend has started.
        sharing: the `Sharing` of the backend, once there was more than one engine; it is in the
            place of the inbox then.
    """

    __slots__ = ("_inbox", "_lane", "_uid", "_work_dir", "is_up", "sharing", "told_loss")

    def __init__(self, inbox: Inbox, lane: int, uid: str, work_dir: Callable[[], Path]) -> None:
        self._inbox: Any = inbox
        self._lane = lane
        self._uid = uid
        self._work_dir = work_dir
        self.told_loss = False
        self.is_up = False
        self.sharing: Any = None  # its class knows this one

    def twin(self) -> Sink:
        """Return another sink that reports to the same engine."""
        return Sink(self._inbox, self._lane, self._uid, self._work_dir)

    def note_start(self, error: BaseException | None) -> None:
        """Note that the start of the backend has ended, with *error* or without."""
        self.is_up = error is None
        if self.sharing is not None:
            self.sharing.note_start(error)

    @property
    def uid(self) -> str:
        return self._uid

    def work_dir(self) -> Path:
        return self._work_dir()

    @property
    def watched(self) -> bool:
        return self._inbox.clock is not None

    @property
    def keeps_output(self) -> bool:
        return bool(self._inbox.keeps_output)

    @property
    def keeps_usage(self) -> bool:
        return bool(self._inbox.keeps_usage)

    def report(self, reports: Iterable[AnyReport]) -> None:
        inbox = self._inbox
        clock = inbox.clock
        if clock is not None:
            now = clock()
            # What is no report goes in as it is: whoever takes it out says so.
            reports = [
                (*report[:4], now)
                if isinstance(report, tuple) and len(report) == 5 and report[4] is None
                else report
                for report in reports
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
        reports = inbox.reports
        reports.append((task_id, attempt, DONE, value, None if clock is None else clock()))
        if not inbox.awake:
            inbox.wake()
        if len(reports) > MOST_UNREAD:
            inbox.give_way()

    def failed(self, task_id: TaskId, attempt: int, error: BaseException) -> None:
        self.report((Report(task_id, attempt, FAILED, error),))

    def cancelled(self, task_id: TaskId, attempt: int) -> None:
        self.report((Report(task_id, attempt, CANCELLED),))

    def serving(self, task_id: TaskId, attempt: int, serving: Serving) -> None:
        self.report((Report(SERVING, self._lane, RUNNING, (task_id, attempt, serving)),))

    def output(self, task_id: TaskId, attempt: int, text: str, offset: int = 0) -> None:
        if self._inbox.clock is not None:
            self.report(((task_id, attempt, OUTPUT, (text, offset), None),))

    def traced(self, task_id: TaskId, attempt: int, trace: TaskTrace) -> None:
        # Whoever is told of the end of the task takes this in before.
        self._inbox.reports.append((task_id, attempt, TRACE, trace, None))

    def lost(self, error: BaseException, unbegun: Collection[TaskId] = ()) -> None:
        self.told_loss = True
        self.report((Report(LOST, self._lane, FAILED, (error, unbegun)),))
