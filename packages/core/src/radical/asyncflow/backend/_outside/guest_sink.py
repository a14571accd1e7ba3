"""The sink of a backend that runs in the process: it stands for the engine, which is elsewhere."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ...model import TaskTrace
from ...worker import ProgramLink
from .._contract import AnyReport, Serving, TaskId
from .marks import MARKS, Marks
from .reports import Kind, dump_news, kind_of

__all__ = ["GuestSink"]

_Item = tuple[int, int, int, Any, float | None]
_MOST_AT_ONCE = 4096  # reports in one message: the program takes in the first ones meanwhile
_LAST_SENT_S = 5.0  # for the last reports to be sent
_NO_TASK = -1


class GuestSink:
    """A `ReportSink` that sends what it gets to the program, in a thread, many at a time."""

    def __init__(
        self,
        link: ProgramLink,
        marks: Marks,
        *,
        uid: str,
        work_dir: Path,
        keeps_output: bool,
        keeps_usage: bool,
        watched: bool,
    ) -> None:
        self._link = link
        self._marks = marks
        self._uid = uid
        self._work_dir = work_dir
        self._keeps_output = keeps_output
        self._keeps_usage = keeps_usage
        self.is_watched = watched
        self._lock = threading.Condition()
        self._items: list[_Item] = []
        self._sent_marks = 0  # the marks that the program knows of
        self._awake = False
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._is_mine = True
        os.register_at_fork(after_in_child=self._leave)
        self._writer = threading.Thread(target=self._send, name="asyncflow-outside", daemon=True)
        self._writer.start()

    @property
    def uid(self) -> str:
        return self._uid

    def work_dir(self) -> Path:
        return self._work_dir

    @property
    def watched(self) -> bool:
        return self.is_watched

    @property
    def keeps_output(self) -> bool:
        return self._keeps_output

    @property
    def keeps_usage(self) -> bool:
        return self._keeps_usage

    def report(self, reports: Iterable[AnyReport]) -> None:
        now = time.monotonic() if self.is_watched else None
        self._put(
            [
                (task_id, attempt, kind_of(state), value, now if moment is None else moment)
                for task_id, attempt, state, value, moment in reports
            ]
        )

    def running(self, task_id: TaskId, attempt: int, worker: str | None = None) -> None:
        self._put_one(task_id, attempt, Kind.RUNNING, worker)

    def done(self, task_id: TaskId, attempt: int, value: Any) -> None:
        self._put_one(task_id, attempt, Kind.DONE, value)

    def failed(self, task_id: TaskId, attempt: int, error: BaseException) -> None:
        self._put_one(task_id, attempt, Kind.FAILED, error)

    def cancelled(self, task_id: TaskId, attempt: int) -> None:
        self._put([(task_id, attempt, Kind.CANCELLED, None, None)])  # at once, so without a time

    def serving(self, task_id: TaskId, attempt: int, serving: Serving) -> None:
        self._put_one(task_id, attempt, Kind.SERVING, serving)

    def output(self, task_id: TaskId, attempt: int, text: str, offset: int = 0) -> None:
        if self.is_watched:
            self._put_one(task_id, attempt, Kind.OUTPUT, (text, offset))

    def traced(self, task_id: TaskId, attempt: int, trace: TaskTrace) -> None:
        self._put_one(task_id, attempt, Kind.TRACED, trace)

    def lost(self, error: BaseException, unbegun: Collection[TaskId] = ()) -> None:
        self._put([(_NO_TASK, 0, Kind.LOST, (error, tuple(unbegun)), None)])

    # What is no part of a sink.

    def reject(self, requests: Sequence[tuple[int, int]], error: BaseException) -> None:
        """Fail those of *requests* that have no terminal report with *error*."""
        self._put([(*key, Kind.REJECTED, error, None) for key in requests])

    def answer(self, number: int, value: Any = None) -> None:
        """Send the answer to question *number*, behind what was reported before."""
        self._put([(number, 0, Kind.ANSWERED, value, None)])

    def close(self) -> None:
        """Send what is left, and end the thread."""
        self._wake.put(False)
        self._writer.join(_LAST_SENT_S)

    def _put_one(self, task_id: int, attempt: int, kind: int, value: Any = None) -> None:
        self._put([(task_id, attempt, kind, value, time.monotonic() if self.is_watched else None)])

    def _put(self, items: list[_Item]) -> None:
        """Mark the tasks of *items* as begun, and then have the items sent."""
        if not self._is_mine:
            return
        for first in range(0, len(items), _MOST_AT_ONCE):
            part = items[first : first + _MOST_AT_ONCE]
            with self._lock:
                while self._marks.count - self._sent_marks > MARKS - _MOST_AT_ONCE:
                    self._lock.wait()
                self._marks.add([item[0] for item in part if item[2] <= Kind.UNSENT])
                self._items += part
            if not self._awake:
                self._awake = True
                self._wake.put(True)

    def _send(self) -> None:
        """Send what comes, until the end."""
        goes_on = True
        while goes_on:
            goes_on = self._wake.get()
            self._awake = False
            with self._lock:
                items, self._items = self._items, []
                covered = self._marks.count
            messages = [
                dump_news(covered, items[first : first + _MOST_AT_ONCE])
                for first in range(0, len(items), _MOST_AT_ONCE)
            ]
            try:
                self._link.send(*messages)
            except OSError:  # the program is gone, and the loop sees it as well
                return
            with self._lock:
                self._sent_marks = covered
                self._lock.notify_all()

    def _leave(self) -> None:
        """Send nothing from a fork: its parent reports."""
        self._is_mine = False
