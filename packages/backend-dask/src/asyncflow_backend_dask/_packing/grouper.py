"""Split the jobs of a batch into Dask tasks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from radical.asyncflow.backend import TaskId, TaskRequest
from radical.asyncflow.errors import SerializationError
from radical.asyncflow.worker import Code

from .._program.dask_tasks import DaskTaskWriter
from .._program.job_table import JobTable
from .._program.jobs import Job
from .._program.workers import KnownWorkers
from .chains import BatchChains
from .levels import BatchLevels
from .packer import PROBE_INTERVAL_S, Packer

__all__ = ["Grouper"]

_LOOK_SHARE = 20  # an interval is at least so many looks long: many held jobs cost time


class Grouper:
    """Decides which calls share a Dask task.

    They are calls of one function that took little time before: independent ones, those of
    a chain, and those of one level of a graph.  In a graph with many calls of a function
    that has not run yet, the first calls tell how long it runs.  Until these have ended the
    others are held here.  A few more go from time to time, so that no slot is idle.
    """

    def __init__(
        self,
        table: JobTable,
        writer: DaskTaskWriter,
        packer: Packer,
        workers: KnownWorkers,
        annotations: Callable[[Job], Mapping[str, Any]],
        send: Callable[[Sequence[Sequence[Job]]], None],
        *,
        pack: bool,
    ) -> None:
        """Hand groups to *send*, each behind those that it depends on.

        Args:
            annotations: returns what tells Dask how and where to run a job.
            pack: whether calls may share a Dask task at all.
        """
        self._table = table
        self._writer = writer
        self._packer = packer
        self._workers = workers
        self._annotations = annotations
        self._send = send
        self._pack = pack
        self._held: list[Job] = []
        # By the number of a function whose time is not known:
        self._probes_left: dict[int, int] = {}  # how many calls may go as probes
        self._probes_awaited: dict[int, int] = {}  # how many must end before the others go
        self._timer: asyncio.TimerHandle | None = None

    def take(self, batch: Sequence[TaskRequest]) -> None:
        """Send the tasks of *batch*, and hold those that may get company.

        A job whose function or arguments cannot be pickled is reported as failed.
        """
        needed = {task_id for request in batch for task_id in request.dependencies}
        ahead = self._take_out(needed)
        independent: dict[int, list[Job]] = {}
        for request in batch:
            job = Job(request)
            self._table.jobs[job.task_id] = job
            try:
                if self._prepare(job, needed):
                    assert job.code is not None
                    independent.setdefault(job.code.number, []).append(job)
                else:
                    self._held.append(job)
            except SerializationError as exc:
                self._table.fail(job, exc)
        groups = ahead + self._groups()
        for jobs in independent.values():
            code = jobs[0].code
            assert code is not None
            groups += self._packer.split(code, jobs, self._workers.slots)
        self._send(groups)

    def note_end(self, code: Code) -> None:
        """Note that a call of *code* has ended, and send others if they waited for it."""
        left = self._probes_awaited.get(code.number)
        if left is None:
            return
        if left > 1:
            self._probes_awaited[code.number] = left - 1
        else:
            self._send(self._groups())

    def close(self) -> None:
        """Forget all that is held here."""
        self._look_in(None)
        self._held.clear()

    def _take_out(self, needed: Collection[TaskId]) -> list[list[Job]]:
        """Take jobs out of the packer that others need, and return each as a group.

        What others wait for does not wait for company itself.
        """
        ahead = []
        for task_id in needed:
            job = self._table.jobs.get(task_id)
            if job is not None and not job.key and self._packer.remove(job):
                ahead.append([job])
        return ahead

    def _groups(self) -> list[list[Job]]:
        """Return the groups of those held jobs that go now."""
        chains = BatchChains(job.request for job in self._held)
        units: list[list[Job]] = []
        for job in self._choose():
            try:
                if not self._follow(job, chains):
                    units.append(chains.begin(job))
            except SerializationError as exc:
                self._table.fail(job, exc)
        if self._pack and len(units) > 1:
            units = BatchLevels(units, self._may_share).groups(self._packer, self._workers.slots)
        return units

    def _choose(self) -> list[Job]:
        """Take out of the held jobs those that go now: all but calls that wait for probes."""
        begun = time.monotonic()
        there = [job for job in self._held if not job.ended]
        probes = 2 * max(self._workers.slots, 1)
        unknown = self._unknown_functions(there, more_than=2 * probes)
        chosen: list[Job] = []
        self._held = []
        staying: set[TaskId] = set()
        for job in there:
            stays = not staying.isdisjoint(job.request.dependencies)
            if not stays and job.code is not None and job.code.number in unknown:
                stays = not self._goes_as_probe(job, job.code.number, probes)
            if stays:
                staying.add(job.task_id)
            (self._held if stays else chosen).append(job)
        for number in [number for number in self._probes_awaited if number not in unknown]:
            del self._probes_awaited[number]
            self._probes_left.pop(number, None)
        interval = max(PROBE_INTERVAL_S, _LOOK_SHARE * (time.monotonic() - begun))
        self._look_in(interval if self._held else None)
        return chosen

    def _unknown_functions(self, jobs: Sequence[Job], *, more_than: int) -> set[int]:
        """Return the numbers of functions with *more_than* so many calls and unknown time."""
        calls = Counter(
            job.code.number
            for job in jobs
            if job.code is not None and job.code.seconds is None and self._may_share(job)
        )
        return {number for number, count in calls.items() if count > more_than}

    def _goes_as_probe(self, job: Job, number: int, probes: int) -> bool:
        """Return whether *job* goes now, of which function *number* the time is not known.

        *probes* calls of each function go at a time.
        """
        left = self._probes_left.setdefault(number, probes)
        self._probes_awaited.setdefault(number, probes)
        if not left:
            return not self._may_share(job)
        self._probes_left[number] = left - 1
        return True

    def _look_in(self, seconds: float | None) -> None:
        """Look again in *seconds*, or at the time that was set before; not at all if None."""
        if seconds is None and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif seconds is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._send_more)

    def _send_more(self) -> None:
        self._timer = None
        self._probes_left.clear()
        self._send(self._groups())

    def _prepare(self, job: Job, needed: Collection[TaskId]) -> bool:
        """Pickle what can be; return whether *job* is independent and may share a Dask task.

        Raises:
            SerializationError: its function or its arguments cannot be pickled.
        """
        request = job.request
        if job.is_command:
            return False
        job.code = self._writer.codes.code_of(request.spec.function)
        if request.dependencies:
            return False
        job.payload = self._writer.pickle_arguments(job)
        return job.task_id not in needed and self._may_share(job)

    def _may_share(self, job: Job) -> bool:
        """Return whether others may share its Dask task; not if it has large arguments."""
        return (
            self._pack
            and job.code is not None
            and not job.request.spec.service  # which ends only when it is told to
            and (job.payload is not None or bool(job.request.dependencies))
            and not self._annotations(job)
        )

    def _follow(self, job: Job, chains: BatchChains) -> bool:
        """Put *job* behind the one that it waits for, if nobody can tell the difference.

        Raises:
            SerializationError: its arguments cannot be pickled.
        """
        if job.code is None or not job.request.dependencies or not self._pack:
            return False
        group = chains.group_for(job, self._packer.max_calls(job.code))
        if (
            group is None
            or job.request.spec.service
            or self._annotations(job)
            or self._annotations(group[0])
        ):
            return False
        job.payload = self._writer.pickle_chained(job, group[-1])
        if job.payload is None:
            return False
        job.predecessor = group[-1].task_id
        chains.join(job, group)
        return True
