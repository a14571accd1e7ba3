"""What a run's record adds up to."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from .._public import public
from ..journal import ErrorRecord, RunRecord, TaskRecord
from ._lanes import BLOCKS, Lane, arrange, bars, busy_seconds, start_of

__all__ = ["STATES", "BackendFacts", "Facts", "Failure", "FunctionFacts", "is_consequence"]

STATES = ("DONE", "FAILED", "CANCELLED", "RUNNING", "PENDING")


@public("radical.asyncflow.report")
class BackendFacts(NamedTuple):
    """What a backend did.

    Attributes:
        slots: tasks that its workers were seen to run at once, added up.
        busy: seconds that its slots ran tasks.
        up, down: seconds after the run's begin.
    """

    name: str
    version: str
    tasks: int
    workers: int
    slots: int
    busy: float
    up: float
    down: float

    @property
    def capacity(self) -> float:
        """Seconds that its slots could have run tasks."""
        return self.slots * max(self.down - self.up, 0.0)


@public("radical.asyncflow.report")
@dataclass(slots=True)
class FunctionFacts:
    """What the tasks of one name did.

    Attributes:
        states: how many tasks ended so; reused ones among DONE.
        longest: the task whose attempts took longest; None if none ran.
    """

    name: str
    kind: str
    tasks: int = 0
    reused: int = 0
    retries: int = 0
    states: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    ran: int = 0
    longest: TaskRecord | None = None
    longest_seconds: float = 0.0

    @property
    def mean(self) -> float | None:
        """Seconds that a task of these took, of those that ran."""
        return self.seconds / self.ran if self.ran else None


@public("radical.asyncflow.report")
class Failure(NamedTuple):
    """Tasks of one name that failed with the same error."""

    name: str
    error: ErrorRecord
    tasks: Sequence[TaskRecord]


@public("radical.asyncflow.report")
@dataclass(frozen=True)
class Facts:
    """Figures of *run*, each made when it is first asked for."""

    run: RunRecord

    @cached_property
    def states(self) -> Counter[str]:
        """How many tasks are in each state."""
        return Counter(task.state for task in self.run.tasks.values())

    @cached_property
    def reused(self) -> int:
        """How many tasks were given an earlier result."""
        return sum(task.reused is not None for task in self.run.tasks.values())

    @cached_property
    def retried(self) -> tuple[TaskRecord, ...]:
        """Tasks with more than one attempt."""
        return tuple(task for task in self.run.tasks.values() if task.failed)

    @cached_property
    def retries(self) -> int:
        """How many attempts failed and were followed by another."""
        return sum(len(task.failed) for task in self.retried)

    @cached_property
    def task_seconds(self) -> float:
        """What all attempts took together; blocks, which wait for theirs, left out."""
        return sum(busy_seconds(task) for task in self._working())

    @cached_property
    def critical_path(self) -> tuple[TaskRecord, ...]:
        """The chain of dependencies that took longest, first task first; blocks count nothing."""
        tasks = self.run.tasks
        best: dict[int, float] = {}
        before: dict[int, int] = {}
        # A task can only depend on those called before it: the order is topological.
        for number, task in sorted(tasks.items()):
            above = [other for other in task.after if other in best]
            best[number] = 0.0 if task.kind == "block" else busy_seconds(task)
            if above:
                last = max(above, key=best.__getitem__)
                best[number] += best[last]
                before[number] = last
        path = []
        step = max(best, key=best.__getitem__, default=None)
        if step is not None and not best[step]:
            step = None
        while step is not None:
            path.append(tasks[step])
            step = before.get(step)
        return tuple(reversed(path))

    @cached_property
    def critical_seconds(self) -> float:
        """What the tasks on the critical path took together."""
        return sum(busy_seconds(task) for task in self.critical_path if task.kind != "block")

    @cached_property
    def lanes(self) -> tuple[Lane, ...]:
        """All attempts that started, by worker."""
        return tuple(arrange(bars(self.run)))

    @cached_property
    def backends(self) -> tuple[BackendFacts, ...]:
        """Every backend that came up or ran something."""
        length = self.run.length
        tasks = Counter(task.backend for task in self._working() if task.reused is None)
        lanes: dict[str, list[Lane]] = {}
        for lane in self.lanes:
            if lane.backend != BLOCKS:
                lanes.setdefault(lane.backend, []).append(lane)
        names = dict.fromkeys((*self.run.backends, *sorted(filter(None, tasks)), *lanes))
        found = []
        for name in names:
            theirs = lanes.get(name, [])
            known = self.run.backends.get(name, {})
            busy = sum(bar.ended - bar.started for lane in theirs for bar in lane.bars)
            found.append(
                BackendFacts(
                    name,
                    str(known.get("version") or ""),
                    tasks[name],
                    len({lane.worker for lane in theirs if lane.worker is not None}),
                    len(theirs),
                    busy,
                    _number(known.get("up"), 0.0),
                    _number(known.get("down"), length),
                )
            )
        return tuple(found)

    @cached_property
    def utilisation(self) -> float | None:
        """Part of the time that slots were busy, 0 to 1; None if nothing ran."""
        capacity = sum(backend.capacity for backend in self.backends)
        if capacity <= 0:
            return None
        return min(sum(backend.busy for backend in self.backends) / capacity, 1.0)

    @cached_property
    def functions(self) -> tuple[FunctionFacts, ...]:
        """By name, those that took longest first."""
        found: dict[tuple[str, str], FunctionFacts] = {}
        for task in self.run.tasks.values():
            facts = found.get((task.name, task.kind))
            if facts is None:
                facts = found[task.name, task.kind] = FunctionFacts(task.name, task.kind)
            facts.tasks += 1
            facts.states[task.state] += 1
            facts.retries += len(task.failed)
            if task.reused is not None:
                facts.reused += 1
                continue
            took = busy_seconds(task)
            ended = start_of(task) is not None and task.ended is not None
            if ended or task.failed:
                facts.ran += 1
                facts.seconds += took
                if facts.longest is None or took > facts.longest_seconds:
                    facts.longest, facts.longest_seconds = task, took
        return tuple(sorted(found.values(), key=lambda facts: -facts.seconds))

    def slowest(self, limit: int = 20) -> list[tuple[TaskRecord, float]]:
        """The tasks whose attempts took longest, with the seconds; no blocks."""
        took = ((busy_seconds(task), -task.number, task) for task in self._working())
        longest = heapq.nlargest(limit, (entry for entry in took if entry[0] > 0))
        return [(task, seconds) for seconds, _, task in longest]

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        """What failed of its own, equal failures together, the first one first."""
        alike: dict[tuple[str, ErrorRecord], list[TaskRecord]] = {}
        for task in self.run.tasks.values():
            if task.state == "FAILED" and not is_consequence(task.error):
                error = task.error or ErrorRecord("", "no error was recorded")
                # Tracebacks differ by what they passed through; the first one stands for all.
                alike.setdefault((task.name, error._replace(traceback="")), []).append(task)
        return tuple(
            Failure(name, tasks[0].error or error, tasks) for (name, error), tasks in alike.items()
        )

    @cached_property
    def consequences(self) -> tuple[TaskRecord, ...]:
        """Tasks that failed because one that they depend on did."""
        return tuple(
            task
            for task in self.run.tasks.values()
            if task.state == "FAILED" and is_consequence(task.error)
        )

    def _working(self) -> Iterable[TaskRecord]:
        return (task for task in self.run.tasks.values() if task.kind != "block")


def is_consequence(error: ErrorRecord | None) -> bool:
    """Whether *error* says no more than that a dependency failed."""
    return error is not None and error.type.rpartition(".")[2] == "DependencyFailureError"


def _number(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, (int, float)) else otherwise
