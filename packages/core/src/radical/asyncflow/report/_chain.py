"""The chain of dependencies that took longest, through blocks and what they called."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..journal import TaskRecord
from ._lanes import busy_seconds

__all__ = ["chain_seconds", "longest_chain"]


class _Moment(NamedTuple):
    """The begin or the end of a task; only at a block these are two places in the graph."""

    number: int
    is_end: bool


def longest_chain(tasks: Mapping[int, TaskRecord], until: float) -> tuple[TaskRecord, ...]:
    """Return the chain of dependencies among *tasks* whose attempts took longest together.

    What a block calls begins after the block does, and after that task of the block which ended
    last before the call: the block awaited it.  A block ends after those of its tasks that ended
    before it did.  For a task that has not ended, the time counts up to *until*.
    """
    graph = _Graph(tasks)
    best: dict[_Moment, float] = {}
    before: dict[_Moment, _Moment] = {}
    begun: set[_Moment] = set()
    stack = [_Moment(number, True) for number in tasks]
    while stack:
        moment = stack[-1]
        if moment in best:
            stack.pop()
            continue
        above = [*graph.above(moment)]
        if moment not in begun:
            begun.add(moment)
            # Only a damaged journal holds a circle; what waits for itself counts as nothing.
            stack += [other for other in above if other not in best and other not in begun]
            continue
        stack.pop()
        best[moment] = graph.seconds(moment, until)
        known = [other for other in above if other in best]
        if known:
            last = max(known, key=best.__getitem__)
            best[moment] += best[last]
            before[moment] = last
    end = max(best, key=best.__getitem__, default=None)
    path: dict[int, TaskRecord] = {}
    step = end if end is not None and best[end] else None
    while step is not None:
        # A block stands where it began, before what it called.
        path.pop(step.number, None)
        path[step.number] = tasks[step.number]
        step = before.get(step)
    return tuple(reversed(path.values()))


class _Graph:
    """The begins and ends of tasks, and the order in which they came."""

    def __init__(self, tasks: Mapping[int, TaskRecord]) -> None:
        self._tasks = tasks
        self._called: dict[int, list[int]] = {}
        self._awaited: dict[int, int] = {}
        self._find_members()
        for numbers in self._called.values():
            self._find_awaited(numbers)

    def _find_members(self) -> None:
        tasks = self._tasks
        for number, task in tasks.items():
            block = None if task.block is None else tasks.get(task.block)
            if block is None:
                continue
            in_time = task.ended is not None and block.ended is not None
            if block.ended is None or (in_time and task.ended <= block.ended):  # type: ignore[operator]
                self._called.setdefault(block.number, []).append(number)

    def _find_awaited(self, numbers: list[int]) -> None:
        ended = {number: self._tasks[number].ended for number in numbers}
        ends = sorted((at, number) for number, at in ended.items() if at is not None)
        for number in numbers:
            added = self._tasks[number].added
            place = 0 if added is None else bisect_right(ends, (added, -1))
            if place:
                self._awaited[number] = ends[place - 1][1]

    def above(self, moment: _Moment) -> Iterator[_Moment]:
        """Yield what *moment* comes after."""
        task = self._tasks[moment.number]
        if moment.is_end and task.kind == "block":
            yield _Moment(moment.number, False)
            for number in self._called.get(moment.number, ()):
                yield _Moment(number, True)
            return
        for number in task.after:
            if number in self._tasks:
                yield _Moment(number, True)
        if task.block is not None and task.block in self._tasks:
            yield _Moment(task.block, False)
        if task.number in self._awaited:
            yield _Moment(self._awaited[task.number], True)

    def seconds(self, moment: _Moment, until: float) -> float:
        """Return how long *moment* takes; a block only waits."""
        task = self._tasks[moment.number]
        if not moment.is_end or task.kind == "block":
            return 0.0
        return chain_seconds(task, until)


def chain_seconds(task: TaskRecord, until: float) -> float:
    """Return the seconds for which others waited for *task*: for a service, until it was up."""
    return busy_seconds(task._replace(serves=False) if task.serves else task, until)
