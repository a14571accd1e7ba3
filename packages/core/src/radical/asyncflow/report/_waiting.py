"""Tell what the tasks of a recorded run wait for, or waited for when it was killed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .._graph.waiting import Inputs, explain, explain_all, reason_of
from .._public import public
from ..journal import RunRecord, TaskRecord
from ..journal._records import UNFINISHED
from ..journal._waits import RunWaits, TaskGroup, read_waits
from ..model._waiting import TaskNow, Wait, Waiting, WaitKind

__all__ = ["RecordedTasks", "reason_text", "waiting_in"]

_SENT = Wait(kind=WaitKind.ENGINE, text="the next turn of the engine")


@public("radical.asyncflow.report")
def waiting_in(run: RunRecord, number: int | None = None, *, journal: str | None = None) -> Waiting:
    """Say what the task with this *number* waits for, or all tasks of *run*.

    Args:
        journal: the path of the journal, beside which the program says what only it knows; None
            for dependencies and states alone.
    """
    waits = None if journal is None else read_waits(journal, run.uid)
    tasks = RecordedTasks(run.tasks, run.length, waits)
    if number is None:
        return explain_all(tasks, [task.number for task in run.in_state(*UNFINISHED)])
    if run.tasks[number].state not in UNFINISHED:
        return Waiting(task=tasks.now(number))
    return explain(tasks, number)


class RecordedTasks:
    """The tasks of a record, by number; the `Tasks` of `_graph.waiting`.

    Args:
        now: the seconds since the run began.
        waits: what the program said last.
    """

    def __init__(self, tasks: Mapping[int, TaskRecord], now: float, waits: RunWaits | None) -> None:
        self._tasks = tasks
        self._waits = waits
        self._now = now

    def now(self, node: int) -> TaskNow:
        task = self._tasks.get(node)
        if task is None:
            return TaskNow(node, "", "ENDED")
        seconds = task.age(self._now) if task.state == "RUNNING" else None
        return TaskNow(node, task.name, task.state, seconds)

    def named(self, number: int) -> TaskNow:
        return self.now(number)

    def number(self, node: int) -> int:
        return node

    def is_running(self, node: int) -> bool:
        return self._tasks[node].state == "RUNNING"

    def inputs(self, node: int) -> Inputs:
        tasks = self._tasks
        after = [number for number in tasks[node].after if number in tasks]
        return Inputs([one for one in after if tasks[one].state in UNFINISHED], len(after))

    def waits(self, nodes: Sequence[int]) -> Mapping[int, Sequence[Wait]]:
        return {node: (self._wait(node),) for node in nodes if self._stands_itself(node)}

    def _stands_itself(self, node: int) -> bool:
        task = self._tasks[node]
        if task.state == "RUNNING":
            return self._waits is not None and self._told(node) is not None
        return task.state in UNFINISHED and not self.inputs(node).unfinished

    def _told(self, node: int) -> TaskGroup | None:
        if self._waits is None:
            return None
        task = self._tasks[node]
        if task.state == "RUNNING":  # a service that is not up, say; never by a guess
            return next((group for group in self._waits.groups if group.has(node)), None)
        return self._waits.of(node, task.backend if task.state == "SUBMITTED" else "")

    def _wait(self, node: int) -> Wait:
        group = self._told(node)
        if group is not None:
            return _wait_of(group)
        task = self._tasks[node]
        if task.state == "SUBMITTED":
            return Wait(
                kind=WaitKind.UNKNOWN,
                text=f"backend {task.backend!r}, which has it; the program says more when it "
                "waits for long",
            )
        if task.failed:
            last = task.failed[-1]
            failure = f"{last.error.type}: {last.error.text}".splitlines()[0][:200]
            return Wait(
                kind=WaitKind.RETRY,
                text=f"its next attempt: attempt {last.attempt} failed with {failure}",
            )
        return _SENT


def _wait_of(group: TaskGroup) -> Wait:
    kind = WaitKind(group.kind) if group.kind in set(WaitKind) else WaitKind.UNKNOWN
    return Wait(
        kind=kind,
        text=group.text,
        holders=group.holders,
        held_by=group.held_by,
        seconds=group.seconds,
    )


def reason_text(tasks: RecordedTasks, group: TaskGroup) -> str:
    """Return in words what all tasks of *group* wait for, with the tasks that hold it."""
    return str(reason_of(tasks, _wait_of(group)))
