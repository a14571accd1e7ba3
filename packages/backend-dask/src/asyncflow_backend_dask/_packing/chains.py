"""Find the calls of one batch that follow each other so closely that they share a Dask task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from radical.asyncflow.backend import TaskId, TaskRequest

from .._program.jobs import Job

__all__ = ["BatchChains"]


class BatchChains:
    """The chains of one batch: a call, the only call that waits for it, and so on.

    Between two members of a chain there is nothing to decide: they run one after the other
    in any case.
    """

    def __init__(self, batch: Iterable[TaskRequest]) -> None:
        self._dependents: Counter[TaskId] = Counter(
            task_id for request in batch for task_id in set(request.dependencies)
        )
        self._open: dict[TaskId, list[Job]] = {}

    def begin(self, job: Job) -> list[Job]:
        """Return a new group that begins with *job*, and that others may join."""
        group = [job]
        if self._dependents[job.task_id] == 1:
            self._open[job.task_id] = group
        return group

    def group_for(self, job: Job, max_length: int) -> list[Job] | None:
        """Return the group that ends with the only call that *job* waits for.

        None means that there is no such group, or that it is full.
        """
        dependencies = set(job.request.dependencies)
        if len(dependencies) != 1:
            return None
        (before,) = dependencies
        group = self._open.get(before)
        if group is None or group[-1].code is not job.code or len(group) >= max_length:
            return None
        if group[-1].request.spec.priority != job.request.spec.priority:
            return None
        return group

    def join(self, job: Job, group: list[Job]) -> None:
        """Put *job* at the end of *group*."""
        del self._open[group[-1].task_id]
        group.append(job)
        if self._dependents[job.task_id] == 1:
            self._open[job.task_id] = group
