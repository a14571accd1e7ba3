"""Which calls of one batch follow each other so closely that they share a Dask task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from radical.asyncflow.backend import TaskId, TaskRequest

from .._program.jobs import Job

__all__ = ["Chains"]


class Chains:
    """The chains of one batch: a call, one that waits for it alone, and so on.

    Between two links of a chain there is nothing to decide: they run one after the
    other in any case.  Attribute:
        dependents: how many of the batch wait for each task.
    """

    def __init__(self, batch: Iterable[TaskRequest]) -> None:
        self.dependents: Counter[TaskId] = Counter(
            task_id for request in batch for task_id in set(request.dependencies)
        )
        self._open: dict[TaskId, list[Job]] = {}

    def begin(self, job: Job) -> list[Job]:
        """The group of *job*, to which others may come."""
        group = [job]
        if self.dependents[job.task_id] == 1:
            self._open[job.task_id] = group
        return group

    def group_for(self, job: Job, longest: int) -> list[Job] | None:
        """The group that ends with the one call for which *job* waits, if there is room."""
        dependencies = set(job.request.dependencies)
        if len(dependencies) != 1:
            return None
        (before,) = dependencies
        group = self._open.get(before)
        if group is None or group[-1].code is not job.code or len(group) >= longest:
            return None
        return group

    def join(self, job: Job, group: list[Job]) -> None:
        """*job* comes at the end of *group*."""
        del self._open[group[-1].task_id]
        group.append(job)
        if self.dependents[job.task_id] == 1:
            self._open[job.task_id] = group
