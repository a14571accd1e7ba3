"""The attempts of a run as bars, and the bars on lanes on which none overlaps another."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .._public import public
from ..journal import ErrorRecord, FunctionRecord, RunRecord, TaskRecord

__all__ = [
    "BLOCKS",
    "Bar",
    "TimelineLane",
    "arrange",
    "bars",
    "busy_seconds",
    "cores_of",
    "cores_of_function",
    "end_of",
    "most_at_once",
    "start_of",
    "waited_seconds",
]

BLOCKS = "blocks"
"""The name that stands for a backend at blocks, which run in the program itself."""

_DIGITS = re.compile(r"(\d+)")


class Bar(NamedTuple):
    """One attempt that ran.

    Attributes:
        ended: its end; if that is not known, because the run goes on or was killed, the end
            of the record.
        error: why another attempt followed; None for the last attempt.
        place: the backend that ran it, if that may be another one than that of the task.
    """

    started: float
    ended: float
    task: TaskRecord
    attempt: int
    worker: str | None
    error: ErrorRecord | None = None
    place: str = ""

    @property
    def backend(self) -> str:
        if self.task.kind == "block":
            return BLOCKS
        return self.place or self.task.backend


class TimelineLane(NamedTuple):
    """A place that runs one task at a time: a worker, or its slot number *place*.

    Attributes:
        bars: in the order of their starts.
    """

    backend: str
    worker: str | None
    place: int
    bars: Sequence[Bar]


def bars(run: RunRecord) -> list[Bar]:
    """Return all attempts that started, in the order of the tasks."""
    end = run.length
    found = []
    for task in run.tasks.values():
        for failed in task.failed:
            if failed.started is not None:
                begun = min(failed.started, failed.ended)
                found.append(
                    Bar(
                        begun,
                        failed.ended,
                        task,
                        failed.attempt,
                        failed.worker,
                        failed.error,
                        failed.backend,
                    )
                )
        start = start_of(task)
        if start is not None:
            known = end_of(task)
            ended = end if known is None else known
            found.append(Bar(min(start, ended), ended, task, task.attempt, task.worker))
    return found


def arrange(found: Sequence[Bar]) -> list[TimelineLane]:
    """Put *found* on as few lanes as each worker needs, ordered by backend and worker."""
    workers: dict[tuple[str, str | None], list[Bar]] = {}
    for bar in found:
        workers.setdefault((bar.backend, bar.worker), []).append(bar)
    lanes = []
    for (backend, worker), theirs in sorted(workers.items(), key=_order):
        theirs.sort(key=lambda bar: (bar.started, bar.ended))
        # The first free place is taken, so that a worker with one slot has a single lane.
        free: list[int] = []
        running: list[tuple[float, int]] = []
        places: list[list[Bar]] = []
        for bar in theirs:
            while running and running[0][0] <= bar.started:
                heapq.heappush(free, heapq.heappop(running)[1])
            if free:
                place = heapq.heappop(free)
            else:
                place = len(places)
                places.append([])
            places[place].append(bar)
            heapq.heappush(running, (bar.ended, place))
        lanes += [TimelineLane(backend, worker, place, line) for place, line in enumerate(places)]
    return lanes


@public("radical.asyncflow.report")
def busy_seconds(task: TaskRecord, until: float | None = None) -> float:
    """Return the seconds of all attempts of *task*; 0 if it was reused or never ran.

    Those of a service go on when it is up, until it ends.

    Args:
        until: the moment up to which an attempt counts that has not ended, as
            `RunRecord.length` gives it; without it such an attempt counts as nothing.
    """
    total = sum(
        max(failed.ended - failed.started, 0.0)
        for failed in task.failed
        if failed.started is not None
    )
    begun = start_of(task)
    ended = end_of(task)
    ended = until if ended is None else ended
    if begun is not None and ended is not None:
        total += max(ended - begun, 0.0)
    return total


@public("radical.asyncflow.report")
def waited_seconds(task: TaskRecord, until: float | None = None) -> float | None:
    """Return for how long *task* was ready before its first attempt began; None if unknown.

    Args:
        until: the moment up to which a task counts that has not begun, as for `busy_seconds`.
    """
    if task.ready is None or task.reused is not None:
        return None
    begun = next((each.started for each in task.failed if each.started is not None), task.started)
    if begun is None and task.ended is None:
        begun = until
    return None if begun is None else max(begun - task.ready, 0.0)


def start_of(task: TaskRecord) -> float | None:
    """Return when the last attempt of *task* began; None if it never ran or was reused.

    If a backend does not say when a task starts, one that is done counts as started when it was
    ready.  One that failed may never have begun: its inputs may be missing, for example.
    """
    if task.reused is not None:
        return None
    if task.started is None and task.backend and task.state == "DONE":
        return task.ready
    return task.started


def end_of(task: TaskRecord) -> float | None:
    """Return when *task* left its place; None if it has not, or if that is not known.

    A service is done when it is up, and leaves its place at its end.
    """
    return task.served if task.serves and task.state == "DONE" else task.ended


def cores_of(task: TaskRecord) -> int:
    """Return the cores that *task* takes, on all of its ranks together."""
    return cores_of_function(task.function)


def cores_of_function(function: FunctionRecord) -> int:
    """Return the cores that a task of *function* takes, on all of its ranks together."""
    asked = function.resources
    ranks, cores = asked.get("ranks", 1), asked.get("cores", 1)
    known = isinstance(ranks, int) and isinstance(cores, int)
    return max(ranks * cores, 1) if known else 1  # type: ignore[operator]


def most_at_once(found: Iterable[Bar]) -> int:
    """Return the most cores that the tasks of *found* took at one moment."""
    changes = sorted(
        change
        for bar in found
        for change in ((bar.started, 1, cores_of(bar.task)), (bar.ended, 0, -cores_of(bar.task)))
    )
    most = taken = 0
    for _, _, cores in changes:  # at one moment, those that end are first
        taken += cores
        most = max(most, taken)
    return most


def _order(item: tuple[tuple[str, str | None], object]) -> tuple[object, ...]:
    """Return a key that sorts by name, w2 before w10, and blocks last."""
    backend, worker = item[0]
    parts = _DIGITS.split(worker or "")
    natural = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
    return (backend == BLOCKS, backend, worker is None, natural)
