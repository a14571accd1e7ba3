"""Record the tasks of a run, and arrange them into a `Plan` when somebody asks.

The engine calls `PlanRecorder.add` for every task that it registers.  This is on the path of
each task, so `add` only appends to compact arrays.  Whatever takes time (levels, names,
drawings) is left to `PlanRecorder.plan` and to the `Plan` that it returns.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..model import TaskSpec
from .plan import Plan, PlanTask

__all__ = ["PlanRecorder"]


class _Backend(Protocol):
    name: str

    def plan(self) -> Mapping[str, Any]: ...


class _Numbered(Protocol):
    _number: int


class PlanRecorder:
    """A record of the tasks of an engine: 8 bytes an edge, 16 for a row of equal tasks.

    Attributes:
        limit: the last number that is recorded.
        latest: the spec of the last task; further calls of the same task, without
            dependencies, need not be added.
    """

    __slots__ = ("_backends", "_firsts", "_sources", "_specs", "_targets", "latest", "limit")

    def __init__(self, limit: int | None = None, backends: Sequence[_Backend] = ()) -> None:
        self._backends = backends
        self._specs: list[TaskSpec] = []
        self._firsts = array("I")
        self._sources = array("I")
        self._targets = array("I")
        self.limit = sys.maxsize if limit is None else limit
        self.latest: TaskSpec | None = None

    def add(
        self, spec: TaskSpec, number: int, dependencies: Iterable[_Numbered] | None = None
    ) -> None:
        """Record task *number*: 1, 2, 3 and so on, each after all its dependencies."""
        if number > self.limit:
            return
        if spec is not self.latest:
            self.latest = spec
            self._specs.append(spec)
            self._firsts.append(number)
        if dependencies is not None:
            for other in dependencies:
                self._sources.append(other._number)
                self._targets.append(number)

    def plan(self, count: int) -> Plan:
        """Return the DAG of all *count* tasks so far; later ones do not change it."""
        recorded = min(count, self.limit)
        ends = [*self._firsts[1:], recorded + 1] if self._specs else []
        tasks = tuple(
            PlanTask(number, spec.name, spec.kind, spec.backend, spec.resources, spec.priority)
            for spec, first, end in zip(self._specs, self._firsts, ends, strict=True)
            for number in range(first, end)
        )
        edges = tuple(dict.fromkeys(zip(self._sources, self._targets, strict=True)))
        asked = {backend.name: dict(backend.plan()) for backend in self._backends}
        return Plan(
            tasks,
            edges,
            *_arrange(len(tasks), edges),
            count - recorded,
            {name: what for name, what in asked.items() if what},
        )


_Levels = tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]


def _arrange(count: int, edges: Sequence[tuple[int, int]]) -> _Levels:
    """Return levels and critical path of tasks 1 to *count*; *edges* are in order of targets."""
    level = [0] * (count + 1)
    via = [0] * (count + 1)
    for source, target in edges:
        if level[source] >= level[target]:
            level[target] = level[source] + 1
            via[target] = source
    levels: list[list[int]] = [[] for _ in range(max(level) + 1 if count else 0)]
    for number in range(1, count + 1):
        levels[level[number]].append(number)
    path = []
    last = levels[-1][0] if levels else 0
    while last:
        path.append(last)
        last = via[last]
    return tuple(map(tuple, levels)), tuple(reversed(path))
