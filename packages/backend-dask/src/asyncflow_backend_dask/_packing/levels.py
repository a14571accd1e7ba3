"""Find the calls of one batch on the same level of its graph, which share a Dask task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from radical.asyncflow.backend import TaskId

from .._program.jobs import Job
from .packer import Packer

__all__ = ["BatchLevels"]


class BatchLevels:
    """The levels of one batch: each call is one level above the highest that it depends on.

    The calls of a level do not depend on each other, and all that shares a Dask task begins
    on one level.  So no two Dask tasks wait for each other.
    """

    def __init__(self, units: Sequence[list[Job]], may_share: Callable[[Job], bool]) -> None:
        """Find the level of each unit.

        Args:
            units: calls, or chains of calls, each behind those that it depends on.
            may_share: says of the first call of a unit whether others may share its Dask
                task.
        """
        self._units = units
        self._may_share = may_share
        self._levels: list[int] = []
        at: dict[TaskId, int] = {}
        for unit in units:
            level = max([at.get(item, -1) for item in unit[0].request.dependencies], default=-1) + 1
            self._levels.append(level)
            for place, job in enumerate(unit):
                at[job.task_id] = level + place

    def groups(self, packer: Packer, slots: int) -> list[list[Job]]:
        """Return groups of units, each group behind those that it depends on.

        Units of one function, level and order go together, as many as *packer* allows.
        """
        group_of: dict[TaskId, list[Job]] = {}
        for units in self._alike(packer):
            code = units[0][0].code
            assert code is not None
            size = packer.group_size(code, sum(map(len, units)), slots)
            group: list[Job] = []
            room: float = -inf
            for unit in units:
                if len(group) + len(unit) > room:
                    group, room = [], size
                group += unit
                for job in unit:
                    group_of[job.task_id] = group
        if not group_of:
            return list(self._units)
        return self._in_order(group_of)

    def _alike(self, packer: Packer) -> list[list[list[Job]]]:
        """Return the units that may share Dask tasks: of one level, function and order."""
        alike: dict[tuple[object, ...], list[list[Job]]] = {}
        for unit, level in zip(self._units, self._levels, strict=True):
            code = unit[0].code
            if code is not None and packer.max_calls(code) > 1 and self._may_share(unit[0]):
                alike.setdefault((level, code.number, unit[0].order), []).append(unit)
        return list(alike.values())

    def _in_order(self, group_of: dict[TaskId, list[Job]]) -> list[list[Job]]:
        """Return each group once, behind those that it depends on, and else as they came."""
        for unit in self._units:
            for job in unit:
                group_of.setdefault(job.task_id, unit)
        done: set[int] = set()
        order: list[list[Job]] = []
        for unit in self._units:
            stack = [group_of[unit[0].task_id]]
            while stack:
                group = stack[-1]
                if id(group) in done:
                    stack.pop()
                    continue
                before = [
                    other
                    for job in group
                    for item in job.request.dependencies
                    if (other := group_of.get(item)) is not None
                    and other is not group
                    and id(other) not in done
                ]
                if before:
                    stack += before
                else:
                    done.add(id(group))
                    order.append(stack.pop())
        return order
