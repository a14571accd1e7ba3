"""The table of jobs: what is kept for each, and how each of them ends."""

from __future__ import annotations

import asyncio
import pickle
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from radical.asyncflow.backend import (
    Report,
    ReportSink,
    Serving,
    TaskId,
    TaskState,
    TaskTrace,
    TaskUsage,
)
from radical.asyncflow.errors import BackendError, BackendLostError, DependencyFailureError

from .._messages.pickles import load
from .graphs import GraphSender
from .jobs import Job
from .values import DaskValue, Fetcher

__all__ = ["JobTable"]

_MAX_FAILURES = 1_000  # that are remembered for dependents that come late


class JobTable:
    """Every job until its terminal report, and every key until nobody needs it.

    Attributes:
        jobs: the jobs without a terminal report.
        values: the results that somebody may still ask for.
        shared_keys: the keys of Dask tasks with several jobs.
        ended_count: how many jobs had a terminal report.
        idle: set when the last of *jobs* ends; whoever waits for that clears it before.

    A job that was set aside has ended, but its terminal report comes later.
    """

    def __init__(self, sink: ReportSink, graphs: GraphSender, fetcher: Fetcher) -> None:
        """Report to *sink*; *graphs* releases keys, and *fetcher* fetches values."""
        self.jobs: dict[TaskId, Job] = {}
        self.values: dict[TaskId, DaskValue] = {}
        self.shared_keys: set[str] = set()
        self.ended_count = 0
        self.idle = asyncio.Event()
        self._sink = sink
        self._graphs = graphs
        self._fetcher = fetcher
        self._members: dict[str, list[Job]] = {}
        self._uses: dict[str, int] = {}
        self._failures: OrderedDict[TaskId, tuple[str, str, BaseException]] = OrderedDict()
        self._is_closed = False
        self._is_lost = False

    def assign(self, key: str, group: Sequence[Job]) -> None:
        """Note that the Dask task *key* runs the jobs of *group*."""
        self._members[key] = list(group)
        self._uses[key] = len(group)
        if len(group) > 1:
            self.shared_keys.add(key)

    def jobs_of(self, key: str) -> Iterator[Job]:
        """Yield the jobs that wait for *key*; they may end meanwhile."""
        for job in tuple(self._members.get(key, ())):
            if not job.ended and job.key == key:
                yield job

    def release(self, key: str) -> None:
        """Take away one reason to keep *key*."""
        left = self._uses.get(key, 0) - 1
        if left > 0:
            self._uses[key] = left
            return
        self._uses.pop(key, None)
        self._members.pop(key, None)
        self.shared_keys.discard(key)
        if not self._is_lost:
            self._graphs.release(key)

    def tell_serving(self, job: Job, fields: Sequence[Any]) -> None:
        """Tell of the service that *job* runs."""
        self._sink.serving(job.task_id, job.attempt, Serving(*fields))

    def tell_trace(self, job: Job, usage: Sequence[Any] | None, kept: bytes | None) -> None:
        """Tell what *job* used, and, pickled, what it printed and logged."""
        trace = TaskTrace() if kept is None else pickle.loads(kept)
        if usage is not None:
            trace = trace._replace(usage=TaskUsage(*usage))
        self._sink.traced(job.task_id, job.attempt, trace)

    def close(self) -> None:
        """Leave released values where they are from now on: they end with the cluster."""
        self._is_closed = True

    def lose(self, error: BackendLostError, unbegun: Collection[TaskId]) -> None:
        """Report that the scheduler is lost, and all jobs with it; *unbegun* have not begun."""
        self._is_lost = True
        self._sink.lost(error, unbegun)
        for job in self.jobs.values():
            job.ended = True
        self.jobs.clear()
        self._members.clear()
        self.idle.set()

    # Terminal reports.  Some methods return the report, so that `report` can hand in many at
    # once.

    def report(self, reports: Sequence[Report]) -> None:
        """Hand in *reports*."""
        if reports:
            self._sink.report(reports)

    # The *when* of a report is a time of this machine's clock; None stands for now.

    def done_report(self, job: Job, inline: bytes | None, when: float | None = None) -> Report:
        """Return the report of a success; the value is *inline*, or stays on its worker."""
        if job.is_command:
            assert inline is not None
            return self.final_report(job, TaskState.DONE, load(inline), when)
        value = DaskValue(job.task_id, job.key, job.index, inline, self._fetcher, self._on_release)
        self.values[job.task_id] = value
        if inline is None:
            self._uses[job.key] += 1
        return self.final_report(job, TaskState.DONE, value, when)

    def failed_report(self, job: Job, error: BaseException, when: float | None = None) -> Report:
        """Return the report of a failure, which is remembered for the dependents."""
        self.set_aside(job)
        return self.late_report(job, error, when)

    def late_report(self, job: Job, error: BaseException, when: float | None = None) -> Report:
        """Return the report of the failure of a job that was set aside."""
        name = job.name
        root, cause = name, error
        if isinstance(error, DependencyFailureError) and error.__cause__ is not None:
            root, cause = error.root, error.__cause__
        self._failures[job.task_id] = name, root, cause
        if len(self._failures) > _MAX_FAILURES:
            self._failures.popitem(last=False)
        return Report(job.task_id, job.attempt, TaskState.FAILED, error, when)

    def final_report(
        self, job: Job, state: TaskState, value: Any = None, when: float | None = None
    ) -> Report:
        """Return the terminal report of *job*, and forget the job."""
        self.set_aside(job)
        return Report(job.task_id, job.attempt, state, value, when)

    def set_aside(self, job: Job) -> None:
        """Forget *job*, which has ended."""
        job.ended = True
        self.ended_count += 1
        del self.jobs[job.task_id]
        members = self._members.get(job.key)
        if members is not None:
            # Its arguments must not live as long as its value does.
            members.remove(job)
        if job.key:
            self.release(job.key)
        if not self.jobs:
            self.idle.set()

    def fail(self, job: Job, error: BaseException) -> None:
        """Report that *job* failed."""
        self._sink.report([self.failed_report(job, error)])

    def cancel(self, job: Job) -> None:
        """Report that *job* was cancelled."""
        self._sink.report([self.final_report(job, TaskState.CANCELLED)])

    def dependency_error(self, job: Job, failed: Sequence[TaskId]) -> BaseException:
        """Return the error of *job*, which cannot run without the tasks *failed*."""
        known = [self._failures[item] for item in failed if item in self._failures]
        if not known:
            ids = ", ".join(map(str, failed))
            return BackendError(
                f"task {job.name!r} was not run: the result of task {ids}, which it takes, is gone"
            )
        _, root, cause = known[0]
        error = DependencyFailureError(job.name, [item[0] for item in known], root, cause)
        error.__cause__ = cause
        return error

    def _on_release(self, value: DaskValue) -> None:
        if self.values.get(value.task_id) is value:
            del self.values[value.task_id]
        if value.inline is None and not self._is_closed:
            self.release(value.key)
