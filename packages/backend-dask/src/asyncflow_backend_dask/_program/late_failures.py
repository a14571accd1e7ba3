"""Failures of which the cause is being asked for, and those that follow from them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import TaskId
from radical.asyncflow.errors import DeathReason
from radical.asyncflow.worker import Death

from .job_table import JobTable
from .jobs import Job
from .scheduler_calls import SchedulerCalls

__all__ = ["AskForDeath", "LateFailures"]

AskForDeath = Callable[[threading.Event], Death]
"""Find out why a worker died; it takes some seconds, and less once the event is set."""

_Follower = tuple[Job, Sequence[TaskId], float | None]
"""A job, those of its dependencies that failed, and when it was given up."""


class LateFailures:
    """Jobs that have failed, and are reported as soon as the cause is known.

    Jobs that cannot run without one of them wait here, too, because their errors name the cause.

    Attributes:
        idle: set while no job is here.
    """

    def __init__(self, table: JobTable, calls: SchedulerCalls) -> None:
        self._table = table
        self._calls = calls
        self._followers: dict[TaskId, list[_Follower]] = {}  # by the job that they wait for
        self._causes: dict[TaskId, TaskId] = {}
        self._hurry = threading.Event()
        self.idle = asyncio.Event()
        self.idle.set()

    def hold(
        self,
        jobs: Sequence[Job],
        ask: AskForDeath,
        error: Callable[[Job, Death], BaseException],
    ) -> None:
        """Report that *jobs* failed, each with its *error*, when *ask* has found the cause."""
        for job in jobs:
            self._table.set_aside(job)
            self._followers[job.task_id] = []
        self.idle.clear()
        self._calls.run(self._report(jobs, ask, error))

    def follow(self, job: Job, failed: Sequence[TaskId], when: float | None = None) -> bool:
        """Let *job* fail after one of its *failed* dependencies; False if none of them is here."""
        for task_id in failed:
            cause = self._causes.get(task_id, task_id)
            if cause in self._followers:
                self._table.set_aside(job)
                self._followers[cause].append((job, failed, when))
                self._causes[job.task_id] = cause
                return True
        return False

    def hurry(self) -> None:
        """Let all be reported soon, with what is known by then."""
        self._hurry.set()

    async def _report(
        self,
        jobs: Sequence[Job],
        ask: AskForDeath,
        error: Callable[[Job, Death], BaseException],
    ) -> None:
        table = self._table
        death = Death(DeathReason.UNKNOWN)
        try:
            death = await in_thread(ask, self._hurry)
        finally:
            reports = [table.late_report(job, error(job, death)) for job in jobs]
            for job in jobs:
                for follower, failed, when in self._followers.pop(job.task_id):
                    del self._causes[follower.task_id]
                    cause = table.dependency_error(follower, failed)
                    reports.append(table.late_report(follower, cause, when))
            table.report(reports)
            if not self._followers:
                self.idle.set()
