"""The tasks that a backend of RHAPSODY has not ended: those that wait here, and those it has."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from radical.asyncflow.backend import ReportSink, TaskId, TaskRequest
from radical.asyncflow.errors import BackendLostError
from radical.asyncflow.worker import Execution, TaskContext

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait

__all__ = ["Desk", "Held"]

NAMED = 5
"""The most tasks that an answer names as those which hold the places."""


class Held:
    """One attempt at one task.

    Attributes:
        context: what its code sees of it, and whether it was cancelled.
        execution: its command, where that runs in this program.
        flag: the file that cancels its command, where that runs elsewhere.
        files: those that were made for it, to be removed at its end.
        reported: whether its end was reported.
    """

    __slots__ = ("context", "execution", "files", "flag", "key", "reported", "request")

    def __init__(self, request: TaskRequest) -> None:
        self.request = request
        self.key = request.task_id, request.attempt
        self.context = TaskContext(request.spec.name, *self.key)
        self.execution: Execution | None = None
        self.flag: str | None = None
        self.files: list[str] = []
        self.reported = False


class Desk:
    """Keeps the order of what waits, and the count of what runs; for any thread.

    Args:
        places: how many tasks RHAPSODY's backend gets at once; None for any number.
    """

    def __init__(self, sink: ReportSink, places: int | None) -> None:
        self.places = places
        self._sink = sink
        self._lock = threading.RLock()
        self._arrivals = itertools.count()
        self._waiting: dict[TaskId, Held] = {}
        self._queue: list[tuple[float, int, int, Held]] = []  # a heap
        self._running: dict[tuple[TaskId, int], Held] = {}
        self._taken = 0  # places
        self._lost: BackendLostError | None = None

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._running

    def add(self, batch: Iterable[TaskRequest]) -> None:
        """Queue the tasks of *batch*.

        Raises:
            BackendLostError: RHAPSODY's backend is gone.
        """
        with self._lock:
            if self._lost is not None:
                raise self._lost
            for request in batch:
                held = self._waiting[request.task_id] = Held(request)
                order = -request.spec.priority, -request.depth, next(self._arrivals)
                heapq.heappush(self._queue, (*order, held))

    def reserve(self) -> int:
        """Take the free places for tasks that wait, and return how many these are."""
        with self._lock:
            free = len(self._waiting)
            if self.places is not None:
                free = min(free, self.places - self._taken)
            self._taken += free
            return free

    def take(self) -> Held | None:
        """Return the next task, which runs from now on at a place that was reserved.

        If none waits, that place is free again.
        """
        with self._lock:
            while self._queue:
                *_, held = heapq.heappop(self._queue)
                if self._waiting.get(held.request.task_id) is held:
                    del self._waiting[held.request.task_id]
                    self._running[held.key] = held
                    return held
            self._taken -= 1
            return None

    def give_back(self) -> None:
        """Free a place at which nothing runs."""
        with self._lock:
            self._taken -= 1

    def find(self, key: tuple[TaskId, int]) -> Held | None:
        """Return what runs as *key*."""
        return self._running.get(key)

    def cancel(self, task_ids: Collection[TaskId]) -> list[Held]:
        """Report those CANCELLED that wait, and return those that run, whose contexts know it."""
        wanted = frozenset(task_ids)
        with self._lock:
            for task_id in wanted & self._waiting.keys():
                self.end(self._waiting.pop(task_id))
            running = [one for one in self._running.values() if one.request.task_id in wanted]
            for held in running:
                held.context.cancelled = True
        for held in running:
            held.context.cancel()
        return running

    def cancel_all(self) -> list[Held]:
        """Do the same for all."""
        with self._lock:
            ids = {*self._waiting, *(task_id for task_id, _ in self._running)}
        return self.cancel(ids)

    def end(
        self,
        held: Held,
        value: object = None,
        error: BaseException | None = None,
        *,
        done: bool = False,
        leaves: bool = False,
    ) -> None:
        """Report the end of *held*, unless it was reported: CANCELLED by default.

        Args:
            done: it is DONE with *value*.
            error: it FAILED.
            leaves: its place is free again.
        """
        with self._lock:
            self._running.pop(held.key, None)
            self._taken -= leaves
            before, held.reported = held.reported, True
        if not before:
            if done:
                self._sink.done(*held.key, value)
            elif error is not None:
                self._sink.failed(*held.key, error)
            else:
                self._sink.cancelled(*held.key)

    def lose(self, error: BackendLostError) -> None:
        """Report that RHAPSODY's backend is gone; what waits has not begun."""
        with self._lock:
            if self._lost is not None:
                return
            self._lost = error
            waiting = [*self._waiting]
            for held in (*self._waiting.values(), *self._running.values()):
                held.reported = True
            self._waiting.clear()
            self._queue.clear()
            self._running.clear()
        self._sink.lost(error, waiting)

    def waits(self, task_ids: Collection[TaskId], what: str) -> dict[TaskId, Wait]:
        """Return what those of the tasks wait for that have not begun; *what* has the places."""
        from radical.asyncflow.backend import Wait, WaitKind  # here: most programs never ask

        with self._lock:
            waiting = [task_id for task_id in task_ids if task_id in self._waiting]
            running = [task_id for task_id, _ in self._running]
        wait = Wait(
            kind=WaitKind.SLOT,
            text=f"a place in {what}",
            holders=running[:NAMED],
            held_by=len(running),
        )
        return dict.fromkeys(waiting, wait)
