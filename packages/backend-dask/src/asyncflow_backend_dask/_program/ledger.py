"""The books of the backend: its jobs, what is kept for them, and how each of them ends."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

from radical.asyncflow.backend import Report, ReportSink, TaskId, TaskState
from radical.asyncflow.errors import BackendError, BackendLostError, DependencyFailureError

from .._wire import load
from .graphs import Graphs
from .jobs import Job
from .values import DaskValue, Fetcher

__all__ = ["Ledger"]

_FAILURES = 1_000  # failures that are remembered for dependents which come late


class Ledger:
    """Every job until its terminal report, and every key until nobody needs it.

    Attributes:
        jobs: those without a terminal report.
        values: the results that somebody may still ask for.
        packs: the keys of several jobs.
        ended: how many had a terminal report.
        idle: set when the last of *jobs* ends; whoever waits for that clears it.
        graphs, fetcher: set once there is a connection.
    """

    graphs: Graphs
    fetcher: Fetcher

    def __init__(self, sink: ReportSink) -> None:
        self.jobs: dict[TaskId, Job] = {}
        self.values: dict[TaskId, DaskValue] = {}
        self.packs: set[str] = set()
        self.ended = 0
        self.idle = asyncio.Event()
        self._sink = sink
        self._members: dict[str, list[Job]] = {}
        self._holds: dict[str, int] = {}
        self._failures: OrderedDict[TaskId, tuple[str, str, BaseException]] = OrderedDict()
        self._closed = False
        self._lost = False

    def sent(self, key: str, group: Sequence[Job]) -> None:
        """*key* is the Dask task that runs *group*."""
        self._members[key] = list(group)
        self._holds[key] = len(group)
        if len(group) > 1:
            self.packs.add(key)

    def running(self, key: str) -> Iterator[Job]:
        """The jobs that wait for *key*; they may end meanwhile."""
        for job in tuple(self._members.get(key, ())):
            if not job.over and job.key == key:
                yield job

    def report(self, reports: Sequence[Report]) -> None:
        if reports:
            self._sink.report(reports)

    def close(self) -> None:
        """From here on a value that is released stays where it is, until the cluster ends it."""
        self._closed = True

    def lose(self, error: BackendLostError) -> None:
        """The scheduler is gone, and all jobs with it."""
        self._lost = True
        self._sink.lost(error)
        for job in self.jobs.values():
            job.over = True
        self.jobs.clear()
        self._members.clear()
        self.idle.set()

    def done(self, job: Job, inline: bytes | None) -> Report:
        """The report of a success, whose value is *inline* or stays where it is."""
        if job.is_command:
            assert inline is not None
            return self.over(job, TaskState.DONE, load(inline))
        value = DaskValue(job.task_id, job.key, job.index, inline, self.fetcher, self._released)
        self.values[job.task_id] = value
        if inline is None:
            self._holds[job.key] += 1
        return self.over(job, TaskState.DONE, value)

    def report_failure(self, job: Job, error: BaseException) -> Report:
        spec = job.request.spec
        root, cause = spec.name, error
        if isinstance(error, DependencyFailureError) and error.__cause__ is not None:
            root, cause = error.root, error.__cause__
        self._failures[job.task_id] = spec.name, root, cause
        if len(self._failures) > _FAILURES:
            self._failures.popitem(last=False)
        return self.over(job, TaskState.FAILED, error)

    def over(self, job: Job, state: TaskState, value: Any = None) -> Report:
        """The terminal report of *job*, which nobody here needs any longer."""
        job.over = True
        self.ended += 1
        del self.jobs[job.task_id]
        members = self._members.get(job.key)
        if members is not None:
            # Its arguments must not live as long as its value does.
            members.remove(job)
        if job.key:
            self.let_go(job.key)
        if not self.jobs:
            self.idle.set()
        return Report(job.task_id, job.attempt, state, value)

    def failed(self, job: Job, error: BaseException) -> None:
        self._sink.report([self.report_failure(job, error)])

    def cancelled(self, job: Job) -> None:
        self._sink.report([self.over(job, TaskState.CANCELLED)])

    def _released(self, value: DaskValue) -> None:
        if self.values.get(value.task_id) is value:
            del self.values[value.task_id]
        if value.inline is None and not self._closed:
            self.let_go(value.key)

    def let_go(self, key: str) -> None:
        """One reason less to keep *key*."""
        left = self._holds.get(key, 0) - 1
        if left > 0:
            self._holds[key] = left
            return
        self._holds.pop(key, None)
        self._members.pop(key, None)
        self.packs.discard(key)
        if not self._lost:
            self.graphs.release(key)

    def blame(self, job: Job, failed: Sequence[TaskId]) -> BaseException:
        """The error of *job*, which has no use without these."""
        known = [self._failures[item] for item in failed if item in self._failures]
        if not known:
            ids = ", ".join(map(str, failed))
            return BackendError(f"task {job.name!r} was not run: there is no value of task {ids}")
        _, root, cause = known[0]
        error = DependencyFailureError(job.name, [item[0] for item in known], root, cause)
        error.__cause__ = cause
        return error
