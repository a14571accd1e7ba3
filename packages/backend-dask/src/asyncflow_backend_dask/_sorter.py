"""How a batch is split into Dask tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from radical.asyncflow.backend import TaskRequest
from radical.asyncflow.errors import SerializationError

from ._chains import Chains
from ._fleet import Fleet
from ._graphs import Graphs
from ._jobs import Job
from ._ledger import Ledger
from ._levels import Levels
from ._packer import Packer

__all__ = ["Sorter"]


class Sorter:
    """Decides which calls of a batch share a Dask task.

    Of one function, and short by what it took before: independent ones, those of a chain,
    and those of one level of a graph.
    """

    def __init__(
        self,
        ledger: Ledger,
        graphs: Graphs,
        packer: Packer,
        fleet: Fleet,
        annotations: Callable[[Job], Mapping[str, Any]],
        *,
        pack: bool,
    ) -> None:
        """*annotations* of a job are what Dask is told of how and where to run it."""
        self._ledger = ledger
        self._graphs = graphs
        self._packer = packer
        self._fleet = fleet
        self._annotations = annotations
        self._pack = pack

    def sort(self, batch: Sequence[TaskRequest]) -> list[list[Job]]:
        """Groups, each behind those that it depends on; what is to wait for company is kept.

        A job whose arguments cannot be pickled has failed.
        """
        jobs = self._ledger.jobs
        chains = Chains(batch)
        needed = chains.dependents
        ahead: list[list[Job]] = []
        for task_id in needed:
            # What others wait for does not wait for company itself.
            job = jobs.get(task_id)
            if job is not None and not job.key and self._packer.take(job):
                ahead.append([job])
        loose: dict[int, list[Job]] = {}
        units: list[list[Job]] = []
        for request in batch:
            job = Job(request)
            jobs[job.task_id] = job
            try:
                if self._prepare(job, needed):
                    assert job.code is not None
                    loose.setdefault(job.code.number, []).append(job)
                elif not self._follow(job, chains):
                    units.append(chains.begin(job))
            except SerializationError as exc:
                self._ledger.failed(job, exc)
        slots = self._fleet.slots
        if self._pack and len(units) > 1:
            units = Levels(units, self._fits).groups(self._packer, slots)
        for alone in loose.values():
            code = alone[0].code
            assert code is not None
            units += self._packer.split(code, alone, slots)
        return ahead + units

    def _prepare(self, job: Job, needed: Collection[int]) -> bool:
        """Pickle what can be; whether *job* is independent and may share a Dask task.

        Raises:
            SerializationError: its function or its arguments cannot be pickled.
        """
        request = job.request
        if job.is_command:
            return False
        job.code = self._graphs.codes.of(request.spec.function)
        if request.dependencies:
            return False
        job.payload = self._graphs.pickle_arguments(job)
        return job.task_id not in needed and self._fits(job)

    def _fits(self, job: Job) -> bool:
        """Whether others may share its Dask task, which none does if it has large arguments."""
        return (
            self._pack
            and job.code is not None
            and (job.payload is not None or bool(job.request.dependencies))
            and not self._annotations(job)
        )

    def _follow(self, job: Job, chains: Chains) -> bool:
        """Put *job* behind the one that it waits for, where nobody could tell the difference.

        Raises:
            SerializationError: its arguments cannot be pickled.
        """
        if job.code is None or not job.request.dependencies or not self._pack:
            return False
        group = chains.group_for(job, self._packer.most(job.code))
        if group is None or self._annotations(job) or self._annotations(group[0]):
            return False
        job.payload = self._graphs.pickle_link(job, group[-1])
        if job.payload is None:
            return False
        job.after = group[-1].task_id
        chains.join(job, group)
        return True
