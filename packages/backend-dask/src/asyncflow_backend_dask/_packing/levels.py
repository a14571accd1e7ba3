"""Which calls of one batch stand side by side in its graph, and share a Dask task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from radical.asyncflow.backend import TaskId

from .._program.jobs import Job
from .packer import Packer

__all__ = ["Levels"]


class Levels:
    """A batch by levels: a call is one above the highest that it depends on.

    The calls of a level do not depend on each other, and whatever shares a Dask task
    begins on one level: so no two Dask tasks wait for each other.
    """

    def __init__(self, units: Sequence[list[Job]], fits: Callable[[Job], bool]) -> None:
        """*units* are calls or chains of them, each behind those that it depends on.

        *fits* says of the first of a unit whether others may share its Dask task.
        """
        self._units = units
        self._fits = fits
        self._levels: list[int] = []
        at: dict[TaskId, int] = {}
        for unit in units:
            level = max([at.get(item, -1) for item in unit[0].request.dependencies], default=-1) + 1
            self._levels.append(level)
            for place, job in enumerate(unit):
                at[job.task_id] = level + place

    def groups(self, packer: Packer, slots: int) -> list[list[Job]]:
        """The units, those of one function and level together, as many as *packer* allows."""
        alike: dict[tuple[int, int], list[list[Job]]] = {}
        for unit, level in zip(self._units, self._levels, strict=True):
            code = unit[0].code
            if code is not None and packer.most(code) > 1 and self._fits(unit[0]):
                alike.setdefault((level, code.number), []).append(unit)
        whole: dict[TaskId, list[Job]] = {}
        for units in alike.values():
            code = units[0][0].code
            assert code is not None
            count = sum(map(len, units))
            size = packer.size(code, count, slots)
            group: list[Job] = []
            room: float = -inf
            for unit in units:
                if len(group) + len(unit) > room:
                    group, room = [], size
                group += unit
                for job in unit:
                    whole[job.task_id] = group
        if not whole:
            return list(self._units)
        return self._in_order(whole)

    def _in_order(self, whole: dict[TaskId, list[Job]]) -> list[list[Job]]:
        """Each group once, behind those that it depends on, and otherwise as they came."""
        for unit in self._units:
            for job in unit:
                whole.setdefault(job.task_id, unit)
        done: set[int] = set()
        order: list[list[Job]] = []
        for unit in self._units:
            stack = [whole[unit[0].task_id]]
            while stack:
                group = stack[-1]
                if id(group) in done:
                    stack.pop()
                    continue
                before = [
                    other
                    for job in group
                    for item in job.request.dependencies
                    if (other := whole.get(item)) is not None
                    and other is not group
                    and id(other) not in done
                ]
                if before:
                    stack += before
                else:
                    done.add(id(group))
                    order.append(stack.pop())
        return order
