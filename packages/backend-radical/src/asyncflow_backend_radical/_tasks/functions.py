"""All functions, in groups that share workers; RADICAL-Pilot sees the workers only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radical.asyncflow.backend import Command, Report, Resources, TaskRequest
from radical.asyncflow.errors import BackendError
from radical.asyncflow.worker import Codes

from .._host.messages import TaskChange, TaskStage
from .._pilot.plan import PilotPlan
from .script import shell_script
from .submission import describe
from .traces import Traces
from .worker_group import WorkerGroup, WorkerShape

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait

__all__ = ["Functions"]

_Key = tuple[Resources, str]


class Functions:
    """The functions that wait or run.

    Not safe across threads: the lock of `Tasks` guards every method.
    """

    def __init__(
        self,
        folder: Path,
        plan: PilotPlan,
        traces: Traces,
        *,
        mark_of: Callable[[str], Path],
        streams: Path,
        environment: Path,
        submit: Callable[[Sequence[dict[str, Any]]], None],
        cancel: Callable[[Sequence[str]], None],
    ) -> None:
        """Start nothing yet.

        Args:
            folder: what functions and their workers share.
            mark_of: gives the start mark of a task of RADICAL-Pilot.
            streams: the folder for what workers write.
            environment: the script with the environment of the program.
            submit, cancel: called with descriptions, and uids, of tasks of RADICAL-Pilot.
        """
        self._folder = folder
        self._plan = plan
        self._traces = traces
        self._mark_of = mark_of
        self._streams = streams
        self._environment = environment
        self._submit = submit
        self._cancel = cancel
        self._codes = Codes()
        self._groups: dict[_Key, WorkerGroup] = {}
        self._group_of: dict[str, WorkerGroup] = {}  # by worker

    @property
    def unfinished(self) -> int:
        """The number of functions that wait or run."""
        return sum(group.unfinished for group in self._groups.values())

    @property
    def cores(self) -> int:
        """The number of cores that the workers hold."""
        return sum(group.cores for group in self._groups.values())

    def task_ids(self) -> list[int]:
        """Return the ids of the functions that wait or run."""
        return [task_id for group in self._groups.values() for task_id in group.task_ids()]

    def waits(self, task_ids: Collection[int], backend: str) -> dict[int, Wait]:
        """Return what those of the tasks wait for that have not begun."""
        return {
            task_id: wait
            for group in self._groups.values()
            for task_id, wait in group.waits(task_ids, backend).items()
        }

    def is_worker(self, uid: str) -> bool:
        """Return whether the task *uid* of RADICAL-Pilot is a worker that has not ended."""
        return uid in self._group_of

    def add(self, requests: Sequence[TaskRequest]) -> list[Report]:
        """Let *requests* wait for workers; return the reports of those that cannot travel."""
        by_key: dict[_Key, list[TaskRequest]] = {}
        for request in requests:
            by_key.setdefault(_key(request), []).append(request)
        return [
            report
            for key, group in by_key.items()
            for report in self._group(key, group[0]).add(group)
        ]

    def start_workers(self) -> None:
        """Start as many workers as the functions need."""
        for group in self._groups.values():
            group.start_workers()

    def free_cores(self) -> None:
        """Make idle workers give their cores back."""
        for group in self._groups.values():
            group.free_cores()

    def cancel(self, task_id: int) -> list[Report]:
        """Cancel a function; return its report if it had not begun."""
        reports = [group.cancel(task_id) for group in self._groups.values()]
        return [report for report in reports if report is not None]

    def collect(self) -> list[Report]:
        """Return the reports of what has begun and ended since the last call."""
        return [
            report
            for group in self._groups.values()
            if group.unfinished
            for report in group.collect()
        ]

    def change_worker(self, change: TaskChange) -> list[Report]:
        """Take note of a worker's new stage; return the reports of what it ran."""
        if change.stage is TaskStage.RUNNING:
            return []
        group = self._group_of.pop(change.uid)
        did_not_run = change.stage is TaskStage.FAILED and change.exit_code is None
        if did_not_run or change.stage is TaskStage.REFUSED:
            return group.refuse_worker(change.uid, change.detail)
        return group.end_worker(change.uid, change.exit_code)

    def lose_pilot(self, error: BackendError) -> list[Report]:
        """Fail what ran on the lost pilot; what waits is kept for the next one."""
        self._group_of.clear()
        return [report for group in self._groups.values() for report in group.lose_pilot(error)]

    def clear(self) -> list[TaskRequest]:
        """Drop all functions, and return them."""
        return [request for group in self._groups.values() for request in group.clear()]

    def _group(self, key: _Key, request: TaskRequest) -> WorkerGroup:
        group = self._groups.get(key)
        if group is None:
            spec = request.spec
            number = len(self._groups)
            resources = self._plan.worker_resources(spec.resources)
            group = self._groups[key] = WorkerGroup(
                self._folder / str(number),
                WorkerShape(resources, tuple(spec.description.items())),
                number=number,
                most_workers=self._plan.most_workers_with(resources),
                codes=self._codes,
                traces=self._traces,
                start_worker=self._start_worker,
                cancel_workers=self._cancel,
            )
        return group

    def _start_worker(self, group: WorkerGroup, name: str, words: tuple[str, ...]) -> None:
        self._group_of[name] = group
        script = shell_script(
            Command(words),
            ranks=1,
            stdin=None,
            stdout=self._streams / f"{name}.stdout",
            stderr=self._streams / f"{name}.stderr",
            mark=self._mark_of(name),
            tells_end=self._plan.is_queued,
        )
        more = dict(group.shape.description)
        resources = group.shape.resources
        self._submit([describe(name, name, script, resources, more, self._environment)])


def _key(request: TaskRequest) -> _Key:
    spec = request.spec
    return spec.resources, repr(sorted(spec.description.items(), key=lambda item: item[0]))
