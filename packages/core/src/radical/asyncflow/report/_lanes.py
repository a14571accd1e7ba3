"""Who ran what when: each attempt as a bar, and bars on lanes where none overlaps another."""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from typing import NamedTuple

from .._public import public
from ..journal import ErrorRecord, RunRecord, TaskRecord

__all__ = ["BLOCKS", "Bar", "Lane", "arrange", "bars", "busy_seconds", "start_of"]

BLOCKS = "blocks"
"""What stands in place of a backend for blocks, which run in the program itself."""

_DIGITS = re.compile(r"(\d+)")


class Bar(NamedTuple):
    """One attempt that ran.

    Attributes:
        ended: of one that runs still, or whose run was killed, the end of what is known.
        error: why another attempt followed; None of the last attempt.
    """

    started: float
    ended: float
    task: TaskRecord
    attempt: int
    worker: str | None
    error: ErrorRecord | None = None

    @property
    def backend(self) -> str:
        return BLOCKS if self.task.kind == "block" else self.task.backend


class Lane(NamedTuple):
    """A place where one task runs at a time: the worker, or the *place*-th on it.

    Attributes:
        bars: by their start.
    """

    backend: str
    worker: str | None
    place: int
    bars: Sequence[Bar]


def bars(run: RunRecord) -> list[Bar]:
    """All attempts that started, in the order of the tasks."""
    end = run.length
    found = []
    for task in run.tasks.values():
        for failed in task.failed:
            if failed.started is not None:
                begun = min(failed.started, failed.ended)
                found.append(
                    Bar(begun, failed.ended, task, failed.attempt, failed.worker, failed.error)
                )
        start = start_of(task)
        if start is not None:
            ended = end if task.ended is None else task.ended
            found.append(Bar(min(start, ended), ended, task, task.attempt, task.worker))
    return found


def arrange(found: Sequence[Bar]) -> list[Lane]:
    """*found* on as few lanes as each worker needs, ordered by backend and worker."""
    workers: dict[tuple[str, str | None], list[Bar]] = {}
    for bar in found:
        workers.setdefault((bar.backend, bar.worker), []).append(bar)
    lanes = []
    for (backend, worker), theirs in sorted(workers.items(), key=_order):
        theirs.sort(key=lambda bar: (bar.started, bar.ended))
        # Free places by number, so that a worker of one slot has a single lane.
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
        lanes += [Lane(backend, worker, place, line) for place, line in enumerate(places)]
    return lanes


@public("radical.asyncflow.report")
def busy_seconds(task: TaskRecord) -> float:
    """What all attempts of *task* took together; 0 if it was reused, or never ended."""
    total = sum(
        max(failed.ended - failed.started, 0.0)
        for failed in task.failed
        if failed.started is not None
    )
    begun = start_of(task)
    if begun is not None and task.ended is not None:
        total += max(task.ended - begun, 0.0)
    return total


def start_of(task: TaskRecord) -> float | None:
    """When the last attempt of *task* began; None if it never ran, or was reused.

    Where a backend does not say when a task starts, it is taken to start when it is ready.
    """
    if task.reused is not None:
        return None
    if task.started is None and task.backend and task.state in ("DONE", "FAILED"):
        return task.ready
    return task.started


def _order(item: tuple[tuple[str, str | None], object]) -> tuple[object, ...]:
    """By name, w2 before w10; blocks, of which there may be many, last."""
    backend, worker = item[0]
    parts = _DIGITS.split(worker or "")
    natural = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
    return (backend == BLOCKS, backend, worker is None, natural)
