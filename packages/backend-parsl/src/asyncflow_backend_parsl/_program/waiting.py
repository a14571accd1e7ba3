"""The tasks that no node has yet, in the order in which they go to one.

Those that ask for the same stand in one line, so when the first of a line fits nowhere, nobody
looks at the others.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from itertools import count

from radical.asyncflow.backend import Resources

from .packing import PackedTask

__all__ = ["Line", "Unit", "Waiting"]

Place = tuple[float, int]
"""A negative priority and a negative depth; what has the smaller ones goes first."""


class Unit:
    """A task, and those that wait for its value and travel with it.

    Attributes:
        tasks: each after the one that it waits for; none once all are cancelled.
        place: that of the first.
        number: smaller for one that came earlier.
    """

    __slots__ = ("line", "number", "place", "tasks")

    def __init__(self, line: Line, number: int, place: Place) -> None:
        self.line = line
        self.number = number
        self.place = place
        self.tasks: list[PackedTask] = []


class Line:
    """Units that ask for the same *resources*.

    Attributes:
        count: how many there are.
    """

    __slots__ = ("_levels", "_places", "count", "resources")

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.count = 0
        self._places: list[Place] = []  # a heap
        self._levels: dict[Place, deque[Unit]] = {}  # with units that are empty by now

    def append(self, unit: Unit) -> None:
        """Let *unit* stand behind its equals."""
        self._level(unit.place).append(unit)
        self.count += 1

    def append_first(self, unit: Unit) -> None:
        """Let *unit* stand before its equals."""
        self._level(unit.place).appendleft(unit)
        self.count += 1

    def first(self) -> Unit | None:
        """Return the next one, which stays."""
        while self._places:
            level = self._levels[self._places[0]]
            while level:
                if level[0].tasks:
                    return level[0]
                level.popleft()
            del self._levels[heapq.heappop(self._places)]
        return None

    def take(self, unit: Unit) -> None:
        """Let *unit*, which is the next one, go."""
        self._levels[unit.place].popleft()
        self.count -= 1

    def __iter__(self) -> Iterator[Unit]:
        for place in sorted(self._levels):
            yield from (unit for unit in self._levels[place] if unit.tasks)

    def _level(self, place: Place) -> deque[Unit]:
        level = self._levels.get(place)
        if level is None:
            level = self._levels[place] = deque()
            heapq.heappush(self._places, place)
        return level


class Waiting:
    """All lines; for one thread at a time."""

    def __init__(self) -> None:
        self._lines: dict[Resources, Line] = {}
        self._unit_of: dict[int, Unit] = {}
        self._numbers = count()

    def __bool__(self) -> bool:
        return bool(self._unit_of)

    def __iter__(self) -> Iterator[int]:
        """Yield the ids of the tasks, in the order in which they came."""
        return iter(self._unit_of)

    def resources(self, task_id: int) -> Resources | None:
        """Return what a task asks for; None if it does not wait."""
        unit = self._unit_of.get(task_id)
        return None if unit is None else unit.line.resources

    def lines(self) -> list[Line]:
        """Return the lines in which somebody stands, that of the next one first."""
        found = []
        for line in self._lines.values():
            unit = line.first()
            if unit is not None:
                found.append((unit.place, unit.number, line))
        return [line for _, _, line in sorted(found)]

    def add(self, task: PackedTask, units: dict[int, Unit]) -> None:
        """Let *task* wait, behind the one in *units* that it needs the value of."""
        unit = self._join(task, units)
        if unit is not None:
            unit.line.append(unit)

    def add_first(self, tasks: Iterable[PackedTask]) -> None:
        """Let *tasks* wait before their equals."""
        units: dict[int, Unit] = {}
        for unit in reversed([self._join(task, units) for task in tasks]):
            if unit is not None:
                unit.line.append_first(unit)

    def _join(self, task: PackedTask, units: dict[int, Unit]) -> Unit | None:
        """Put *task* into a unit; return that if it is new, and has to stand in line."""
        unit = units.get(task.dependencies[0]) if task.dependencies else None
        is_new = unit is None
        if unit is None:
            resources = task.packed.resources
            line = self._lines.get(resources)
            if line is None:
                line = self._lines[resources] = Line(resources)
            unit = Unit(line, next(self._numbers), (-task.packed.spec.priority, -task.depth))
        unit.tasks.append(task)
        units[task.task_id] = self._unit_of[task.task_id] = unit
        return unit if is_new else None

    def take(self, unit: Unit) -> None:
        """Let *unit*, which is the next one of its line, go."""
        unit.line.take(unit)
        for task in unit.tasks:
            del self._unit_of[task.task_id]
        self._close(unit.line)

    def drop(self, ids: Collection[int]) -> list[PackedTask]:
        """Remove tasks, and those that wait for their values; return all that are gone."""
        gone: list[PackedTask] = []
        for task_id in ids:
            unit = self._unit_of.get(task_id)
            if unit is None:
                continue
            lost = {task_id}
            if unit.tasks[-1].task_id == task_id:
                dropped = [unit.tasks.pop()]
            else:
                dropped = []
                for task in unit.tasks:
                    if task.task_id in lost or lost.intersection(task.dependencies):
                        lost.add(task.task_id)
                        dropped.append(task)
                unit.tasks = [task for task in unit.tasks if task.task_id not in lost]
            if not unit.tasks:
                unit.line.count -= 1
                self._close(unit.line)
            for task in dropped:
                del self._unit_of[task.task_id]
            gone += dropped
        return gone

    def _close(self, line: Line) -> None:
        """Forget *line* if nobody stands in it."""
        if not line.count:
            self._lines.pop(line.resources, None)
