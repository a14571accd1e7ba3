"""Calls that wait for inputs that only their neighbours in the Dask task need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from radical.asyncflow.backend import TaskId

from .._program.dask_tasks import SentTask
from .._program.job_table import JobTable
from .._program.jobs import Job

__all__ = ["SharedInputs"]

_LOOK_INTERVAL_S = 0.5  # at least, between two looks at the waiting Dask tasks
_LOOK_SHARE = 20  # an interval is at least so many looks long: many waiting tasks cost time
_MAX_WAIT_S = 5.0  # that a call waits while others end

CallsByKey = Mapping[str, Sequence[tuple[TaskId, int]]]
"""``{key of a Dask task: [(task id, attempt), ...]}``"""


class _WaitingTask:
    """A Dask task that may wait for more than its calls do.

    Attributes:
        ready_since: when one of its calls was first seen to have all that it needs, in
            seconds of the loop's clock; None before.
    """

    __slots__ = ("jobs", "ready_since", "waits_for")

    def __init__(self, jobs: Sequence[Job], waits_for: Collection[str]) -> None:
        self.jobs = jobs
        self.waits_for = frozenset(waits_for)
        self.ready_since: float | None = None


class SharedInputs:
    """Makes sure that no call waits long for the inputs of another.

    The calls of one Dask task begin when all that any of them needs is there, and a value
    is there when the whole Dask task that makes it has ended.  Calls that share a Dask task
    are short, so this is soon.  But one of them may be held up, even by a call that waits
    for the result of its neighbour.  Then the calls are asked back, to be sent one by one.
    """

    def __init__(self, table: JobTable, ask_back: Callable[[CallsByKey], None]) -> None:
        """Ask calls back with *ask_back*, which gets those that have not begun."""
        self._table = table
        self._ask_back = ask_back
        self._waiting: dict[str, _WaitingTask] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ended_count = 0

    def watch(self, sent: SentTask) -> None:
        """Watch a Dask task if it may wait for more than its calls need."""
        if not sent.waits_for:
            return
        shared = self._table.shared_keys
        if sent.needs_differ or any(
            key in shared or key in self._waiting for key in sent.waits_for
        ):
            self._waiting[sent.key] = _WaitingTask(sent.jobs, sent.waits_for)
            if self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(_LOOK_INTERVAL_S, self._look)

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        stands_still = self._table.ended_count == self._ended_count
        self._ended_count = self._table.ended_count
        late: dict[str, list[tuple[TaskId, int]]] = {}
        for key, task in tuple(self._waiting.items()):
            jobs = [job for job in task.jobs if job.key == key and not job.ended]
            if not jobs or any(job.worker is not None for job in jobs):
                del self._waiting[key]
            elif self._is_late(task, jobs, now, stands_still) or not task.waits_for.isdisjoint(
                late
            ):
                # What comes after a late Dask task refers to it by its key, so it goes, too.
                del self._waiting[key]
                late[key] = [(job.task_id, job.attempt) for job in jobs]
        if late:
            self._ask_back(late)
        self._timer = None
        if self._waiting:
            interval = max(_LOOK_INTERVAL_S, _LOOK_SHARE * (loop.time() - now))
            self._timer = loop.call_later(interval, self._look)

    def _is_late(
        self, task: _WaitingTask, jobs: Sequence[Job], now: float, stands_still: bool
    ) -> bool:
        """Return whether a call of *task* has waited too long for the inputs of others."""
        unfinished = self._table.jobs
        if not any(unfinished.keys().isdisjoint(job.request.dependencies) for job in jobs):
            return False
        if task.ready_since is None:
            task.ready_since = now
            return False
        return stands_still or now - task.ready_since > _MAX_WAIT_S
