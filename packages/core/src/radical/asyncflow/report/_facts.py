"""The figures of a run, computed from its record."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from .._html import cell, summary, table
from .._html import number as figure
from .._public import public
from ..journal import ErrorRecord, RunRecord, TaskRecord
from ._chain import chain_seconds, longest_chain
from ._lanes import (
    BLOCKS,
    TimelineLane,
    arrange,
    bars,
    busy_seconds,
    cores_of,
    end_of,
    most_at_once,
    start_of,
)
from .words import brief, seconds, share

__all__ = ["STATES", "BackendFacts", "Facts", "Failure", "FunctionFacts", "is_consequence"]

STATES = ("DONE", "FAILED", "CANCELLED", "RUNNING", "SUBMITTED", "PENDING")

MOST_ROWS = 20
"""The most functions, and the most kinds of failures, that a notebook shows."""


@public("radical.asyncflow.report")
class BackendFacts(NamedTuple):
    """The figures of one backend.

    Attributes:
        slots: the places that tasks were seen to take: the most that each worker ran at once,
            added up, or the most cores that all tasks took at once, if that is more.  A task of
            several cores takes as many places.
        busy: the seconds for which its slots ran tasks, added up.
        up, down: seconds after the run began.
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
        """The seconds for which its slots could have run tasks, added up."""
        return self.slots * max(self.down - self.up, 0.0)


@public("radical.asyncflow.report")
@dataclass(slots=True)
class FunctionFacts:
    """The figures of all tasks of one name.

    Attributes:
        states: the number of tasks in each state; reused tasks are DONE.
        seconds: the time of all attempts of tasks that have ended, and of those that failed.
        running_seconds: the time of attempts that have not ended, up to now.
        ran: the number of tasks that ran to their end, or failed at least once.
        longest: the task whose attempts took longest; None if none ran.
    """

    name: str
    kind: str
    tasks: int = 0
    reused: int = 0
    retries: int = 0
    states: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    running_seconds: float = 0.0
    ran: int = 0
    longest: TaskRecord | None = None
    longest_seconds: float = 0.0

    @property
    def mean(self) -> float | None:
        """The mean seconds of the tasks that ran; None if none did."""
        return self.seconds / self.ran if self.ran else None


@public("radical.asyncflow.report")
class Failure(NamedTuple):
    """The tasks of one name that failed with the same error."""

    name: str
    error: ErrorRecord
    tasks: Sequence[TaskRecord]

    @property
    def size(self) -> int:
        """The number of these tasks."""
        return len(self.tasks)


@public("radical.asyncflow.report")
@dataclass(frozen=True)
class Facts:
    """The figures of *run*; each is computed on first use."""

    run: RunRecord

    @cached_property
    def states(self) -> Counter[str]:
        """The number of tasks in each state."""
        return Counter(task.state for task in self.run.tasks.values())

    @property
    def total(self) -> int:
        """The number of tasks."""
        return len(self.run.tasks)

    @cached_property
    def origins(self) -> dict[str, int]:
        """The number of results that were reused, by the run that they came from."""
        found: dict[str, int] = {}
        for task in self.run.tasks.values():
            if task.reused is not None:
                origin = task.reused.rpartition("/")[0]
                found[origin] = found.get(origin, 0) + 1
        return found

    @cached_property
    def reused(self) -> int:
        """The number of tasks that reused an earlier result."""
        return sum(task.reused is not None for task in self.run.tasks.values())

    @cached_property
    def retried(self) -> tuple[TaskRecord, ...]:
        """The tasks with more than one attempt."""
        return tuple(task for task in self.run.tasks.values() if task.failed)

    @cached_property
    def retries(self) -> int:
        """The number of failed attempts that another one followed."""
        return sum(len(task.failed) for task in self.retried)

    @cached_property
    def task_seconds(self) -> float:
        """The time of all attempts together, without blocks, which only wait for their tasks.

        Those that have not ended count up to the last moment that the record knows of.
        """
        length = self._length
        return sum(busy_seconds(task, length) for task in self._working())

    @cached_property
    def critical_path(self) -> tuple[TaskRecord, ...]:
        """The chain of dependencies whose attempts took longest together, in order.

        A block takes no time of its own: the chain goes through the tasks that it called and
        that ended before it did.
        """
        return longest_chain(self.run.tasks, self._length)

    @cached_property
    def critical_seconds(self) -> float:
        """The time of the tasks on the critical path together."""
        path = (task for task in self.critical_path if task.kind != "block")
        return sum(chain_seconds(task, self._length) for task in path)

    @cached_property
    def _length(self) -> float:
        return self.run.length

    @cached_property
    def lanes(self) -> tuple[TimelineLane, ...]:
        """The attempts that started, on lanes by worker."""
        return tuple(arrange(bars(self.run)))

    @cached_property
    def backends(self) -> tuple[BackendFacts, ...]:
        """The figures of every backend that came up or ran a task."""
        length = self._length
        tasks = Counter(
            task.backend
            for task in self._working()
            if task.reused is None and task.state != "PENDING"
        )
        lanes: dict[str, list[TimelineLane]] = {}
        for lane in self.lanes:
            if lane.backend != BLOCKS:
                lanes.setdefault(lane.backend, []).append(lane)
        names = dict.fromkeys((*self.run.backends, *sorted(filter(None, tasks)), *lanes))
        found = []
        for name in names:
            theirs = lanes.get(name, [])
            known = self.run.backends.get(name, {})
            ran = [bar for lane in theirs for bar in lane.bars]
            busy = sum((bar.ended - bar.started) * cores_of(bar.task) for bar in ran)
            named = sum(lane.worker is not None for lane in theirs)
            found.append(
                BackendFacts(
                    name,
                    str(known.get("version") or ""),
                    tasks[name],
                    len({lane.worker for lane in theirs if lane.worker is not None}),
                    max(named, most_at_once(ran)),
                    busy,
                    _number(known.get("up"), 0.0),
                    _number(known.get("down"), length),
                )
            )
        return tuple(found)

    @cached_property
    def utilisation(self) -> float | None:
        """The part of the time for which slots were busy, 0 to 1; None if nothing ran."""
        capacity = sum(backend.capacity for backend in self.backends)
        if capacity <= 0:
            return None
        return min(sum(backend.busy for backend in self.backends) / capacity, 1.0)

    @cached_property
    def functions(self) -> tuple[FunctionFacts, ...]:
        """The figures of the tasks by name, those that took longest first."""
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
            facts.running_seconds += busy_seconds(task, self._length) - took
            ended = start_of(task) is not None and end_of(task) is not None
            if ended or task.failed:
                facts.ran += 1
                facts.seconds += took
                if facts.longest is None or took > facts.longest_seconds:
                    facts.longest, facts.longest_seconds = task, took
        return tuple(sorted(found.values(), key=lambda facts: -facts.seconds))

    def __repr__(self) -> str:
        return f"<Facts of {self.run!r}>"

    def _repr_html_(self) -> str:
        heads = ("task", "#tasks", "#done", "#failed", "#reused", "#in all", "#mean")
        rows = [
            (
                cell(each.name),
                *(
                    figure(text)
                    for text in (
                        f"{each.tasks:,}",
                        f"{each.states['DONE']:,}",
                        f"{each.states['FAILED']:,}",
                        f"{each.reused:,}",
                        seconds(each.seconds),
                        seconds(each.mean),
                    )
                ),
            )
            for each in self.functions[:MOST_ROWS]
        ]
        facts = [
            ("slots were busy", "" if self.utilisation is None else share(self.utilisation, 1)),
            ("longest chain", seconds(self.critical_seconds) if self.critical_path else ""),
            ("retries", f"{self.retries:,}" if self.retries else ""),
            *(
                (f"{len(each.tasks):,} × {each.name} failed", brief(each.error))
                for each in self.failures[:MOST_ROWS]
            ),
        ]
        title = f"{self.run.uid}: {self.run.state}"
        return summary(title, facts, table("tasks by name", heads, rows))

    def slowest(self, limit: int = 20) -> list[tuple[TaskRecord, float]]:
        """Return the tasks whose attempts took longest, with their seconds.

        Blocks and services are left out: they take as long as others need them.
        """
        working = (task for task in self._working() if not task.serves)
        took = ((busy_seconds(task), -task.number, task) for task in working)
        longest = heapq.nlargest(limit, (entry for entry in took if entry[0] > 0))
        return [(task, seconds) for seconds, _, task in longest]

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        """The failures that no other task caused, equal ones together, in order."""
        alike: dict[tuple[str, ErrorRecord], list[TaskRecord]] = {}
        for task in self.run.tasks.values():
            if task.state == "FAILED" and not is_consequence(task.error):
                error = task.error or ErrorRecord("", "no error was recorded")
                # Equal errors may differ in their tracebacks: that of the first is shown.
                alike.setdefault((task.name, error._replace(traceback="")), []).append(task)
        return tuple(
            Failure(name, tasks[0].error or error, tasks) for (name, error), tasks in alike.items()
        )

    @cached_property
    def consequences(self) -> tuple[TaskRecord, ...]:
        """The tasks that failed because a dependency failed."""
        return tuple(
            task
            for task in self.run.tasks.values()
            if task.state == "FAILED" and is_consequence(task.error)
        )

    @property
    def consequence_count(self) -> int:
        """The number of these tasks."""
        return len(self.consequences)

    def _working(self) -> Iterable[TaskRecord]:
        return (task for task in self.run.tasks.values() if task.kind != "block")


def is_consequence(error: ErrorRecord | None) -> bool:
    """Tell whether *error* only says that a dependency failed."""
    return error is not None and error.type.rpartition(".")[2] == "DependencyFailureError"


def _number(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, (int, float)) else otherwise
