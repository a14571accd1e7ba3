"""Describe the DAG of a run and draw it.

A task can depend only on tasks that were registered before it.  So the numbers of the tasks
are a topological order, and one pass over the edges finds the levels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple

from .._public import public
from .._text import count, shorten, task_id_text
from ..model import Resources, TaskKind

__all__ = ["Plan", "PlanTask", "flatten_settings"]


@public("radical.asyncflow")
class PlanTask(NamedTuple):
    """One task of a plan.

    Attributes:
        number: the number of the task in its engine; the first is 1.
        backend: the name of the backend that the task asked for; None for the default one.
        priority: its option ``priority``: of those that wait, what has a higher one goes first.
    """

    number: int
    name: str
    kind: TaskKind
    backend: str | None
    resources: Resources
    priority: float = 0

    @property
    def id(self) -> str:
        """The ``id`` of the task's future, such as ``"task.000001"``."""
        return task_id_text(self.number)


@public("radical.asyncflow")
@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """The DAG of a workflow at the moment when `WorkflowEngine.plan` was called.

    Attributes:
        edges: pairs of task numbers: the second depends on the first.
        levels: the numbers of the tasks on each level.  A task is one level below the deepest
            of its dependencies.
        critical_path: the numbers of the tasks in a longest chain, in the order they run.
        missing: the number of later tasks that were not recorded.
        backends: ``{name: ExecutionBackend.plan()}``, what a backend asks for before any task
            runs, such as a pilot; only the backends that ask for something.
    """

    tasks: tuple[PlanTask, ...]
    edges: tuple[tuple[int, int], ...]
    levels: tuple[tuple[int, ...], ...]
    critical_path: tuple[int, ...]
    missing: int = 0
    backends: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    @property
    def width(self) -> int:
        """The largest number of tasks on one level."""
        return max(map(len, self.levels), default=0)

    @property
    def depth(self) -> int:
        """The number of levels, which is the length of the critical path."""
        return len(self.levels)

    @property
    def complete(self) -> bool:
        """True if every task of the engine was recorded."""
        return not self.missing

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        return f"<Plan of {len(self)} tasks, depth {self.depth}, width {self.width}>"

    def __str__(self) -> str:
        lines = [
            f"{count(len(self.tasks), 'task')}, {count(len(self.edges), 'edge')}, "
            f"depth {self.depth:,}, width {self.width:,}"
        ]
        if self.tasks:
            names = Counter(task.name for task in self.tasks).most_common()
            counts = [f"{_label(name)} ×{times:,}" for name, times in names[:_NAMES_LISTED]]
            if len(names) > _NAMES_LISTED:
                counts.append(count(len(names) - _NAMES_LISTED, "more name"))
            lines.append(f"tasks: {', '.join(counts)}")
            path = [_label(self.tasks[number - 1].name) for number in self._shortened_path()]
            if self.depth > _NAMES_LISTED:
                path.insert(_NAMES_LISTED // 2, f"({self.depth - _NAMES_LISTED:,} more)")
            lines.append(f"critical path: {' → '.join(path)}")
        if urgent := Counter(task.priority for task in self.tasks if task.priority):
            counts = [f"{priority:g} ×{times:,}" for priority, times in sorted(urgent.items())]
            lines.append(f"priorities: {', '.join(reversed(counts[-_NAMES_LISTED:]))}")
        if self.missing:
            lines.append(f"{count(self.missing, 'later task')} not recorded")
        for name, asked in self.backends.items():
            lines.append(f"{_label(name)} asks for:")
            lines += [f"    {key}: {_label(value)}" for key, value in flatten_settings(asked)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from .._html import summary
        from .picture import Box, draw

        nodes, edges = self._draw(_DRAWN_IN_NOTEBOOKS)
        boxes = [Box(node.label, node.first) for node in nodes]
        title = f"{count(len(self.tasks), 'task')}, depth {self.depth:,}, width {self.width:,}"
        asked = [
            (
                f"{_label(name)} asks for",
                " ".join(f"{key}: {_label(value)};" for key, value in flatten_settings(asked)),
            )
            for name, asked in self.backends.items()
        ]
        facts = [("not recorded", f"{self.missing:,}" if self.missing else ""), *asked]
        return summary(title, facts, draw(boxes, edges, title)) if boxes else summary(title, facts)

    def _shortened_path(self) -> tuple[int, ...]:
        """Return the critical path, without its middle if it is long."""
        path = self.critical_path
        half = _NAMES_LISTED // 2
        return path if len(path) <= _NAMES_LISTED else path[:half] + path[-half:]

    def to_mermaid(self, limit: int | None = 500) -> str:
        """Draw the graph as a Mermaid flowchart.

        Beyond *limit* nodes or edges (Mermaid refuses more than 500 edges), tasks of the same
        name and level are drawn as one node, "name ×N".  If that is still too much, each level
        is one node, and the last node stands for all the levels that remain.
        """
        lines = ["flowchart TD"]
        nodes, edges = self._draw(limit)
        for number, node in enumerate(nodes):
            before, after = _MERMAID[node.kind]
            lines.append(f'    n{number}{before}"{_mermaid(node.label)}"{after}')
        lines += [f"    n{source} --> n{target}" for source, target in edges]
        return "\n".join(lines) + "\n"

    def to_dot(self, limit: int | None = None) -> str:
        """Draw the graph in Graphviz's DOT language; *limit* is that of `to_mermaid`."""
        lines = ["digraph plan {", "    node [shape=box];"]
        nodes, edges = self._draw(limit)
        for number, node in enumerate(nodes):
            shape = f", shape={_DOT[node.kind]}" if node.kind in _DOT else ""
            lines.append(f'    n{number} [label="{_dot(node.label)}"{shape}];')
        lines += [f"    n{source} -> n{target};" for source, target in edges]
        return "\n".join([*lines, "}"]) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Return all of the plan, in types that JSON knows."""
        resources = {item: asdict(item) for item in {task.resources for task in self.tasks}}
        return {
            "tasks": [
                {
                    "number": task.number,
                    "id": task.id,
                    "name": task.name,
                    "kind": task.kind.value,
                    "backend": task.backend,
                    "resources": dict(resources[task.resources]),
                    "priority": task.priority,
                }
                for task in self.tasks
            ],
            "edges": [list(edge) for edge in self.edges],
            "levels": [list(level) for level in self.levels],
            "critical_path": list(self.critical_path),
            "width": self.width,
            "depth": self.depth,
            "complete": self.complete,
            "missing": self.missing,
            "backends": {name: dict(asked) for name, asked in self.backends.items()},
        }

    def _draw(self, limit: int | None) -> _Drawing:
        """Return the nodes and edges of the finest picture that keeps to *limit*."""
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        if limit is None or (len(self.tasks) <= limit and len(self.edges) <= limit):
            return self._group(lambda task, _level: task.number)
        for key in self._grouping_keys(limit):
            nodes, edges = self._group(key)
            if len(nodes) <= limit and len(edges) <= limit:
                break
        return nodes, edges

    def _grouping_keys(self, limit: int) -> Iterator[Callable[[PlanTask, int], Hashable]]:
        """Yield the keys by which tasks are drawn as one node, ever coarser; the last gives one."""
        yield lambda task, level: (level, task.name, task.kind)
        own = limit - 1  # levels with a node of their own; all deeper levels share one
        while own:
            yield partial(_shared_level, own)
            own //= 2
        yield lambda _task, _level: None

    def _group(self, key: Callable[[PlanTask, int], Hashable]) -> _Drawing:
        indices: dict[Hashable, int] = {}
        node_of = [0] * (len(self.tasks) + 1)
        nodes: list[_Node] = []
        for depth, level in enumerate(self.levels):
            for number in level:
                task = self.tasks[number - 1]
                index = indices.setdefault(key(task, depth), len(nodes))
                if index == len(nodes):
                    nodes.append(_Node(task, depth))
                nodes[index].add(task, depth)
                node_of[number] = index
        pairs = ((node_of[source], node_of[target]) for source, target in self.edges)
        return nodes, list(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1]))


class _Node:
    """One or more tasks that are drawn as one node."""

    __slots__ = ("count", "first", "kind", "last", "name")

    def __init__(self, task: PlanTask, level: int) -> None:
        self.name: str | None = task.name or task.id
        self.kind: TaskKind | None = task.kind
        self.first = self.last = level
        self.count = 0

    def add(self, task: PlanTask, level: int) -> None:
        self.count += 1
        self.last = level
        if (task.name or task.id) != self.name:
            self.name = None
        if task.kind != self.kind:
            self.kind = None

    @property
    def label(self) -> str:
        if self.count == 1 and self.name is not None:
            return _label(self.name)
        if self.name is not None and self.first == self.last:
            return f"{_label(self.name)} ×{self.count}"
        to = f" to {self.last + 1}" if self.last > self.first else ""
        what = "tasks" if self.name is None else _label(self.name)
        return f"level {self.first + 1}{to}, {what} ×{self.count}"


_Drawing = tuple[list[_Node], list[tuple[int, int]]]


def _shared_level(most: int, _task: PlanTask, level: int) -> int:
    return min(most, level)


_NAMES_LISTED = 10  # how many names a summary lists
_LABEL_CHARS = 60  # characters of a name in a picture
_DRAWN_IN_NOTEBOOKS = 40  # nodes and edges

_MERMAID: dict[TaskKind | None, tuple[str, str]] = {
    TaskKind.FUNCTION: ("[", "]"),
    TaskKind.EXECUTABLE: ("[[", "]]"),
    TaskKind.PROMPT: ("([", "])"),
    TaskKind.BLOCK: ("{{", "}}"),
    None: ("[", "]"),
}
_DOT: dict[TaskKind | None, str] = {
    TaskKind.EXECUTABLE: "component",
    TaskKind.PROMPT: "note",
    TaskKind.BLOCK: "box3d",
}


def flatten_settings(asked: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the settings in *asked* as lines; ``{"pilot": {"nodes": 2}}`` is ``pilot.nodes``, 2."""
    for key, value in asked.items():
        if isinstance(value, Mapping):
            yield from flatten_settings(value, f"{prefix}{key}.")
        else:
            words = value if isinstance(value, list | tuple) else [value]
            yield f"{prefix}{key}", ", ".join(map(str, words)) or "none"


def _label(name: str) -> str:
    """Return *name* on one line, shortened, in characters that can be shown and encoded."""
    name = name[: 4 * _LABEL_CHARS]
    text = " ".join("".join(char if char.isprintable() else " " for char in name).split())
    return shorten(text, _LABEL_CHARS) or "?"


def _mermaid(text: str) -> str:
    # Quotes end a label, backquotes make it Markdown, "#", "&" and "<" are read as
    # entities and HTML, and ":" before "#" is taken for a style: all become entities.
    return re.sub(r"[^\w .,()+×…→-]", lambda match: f"#{ord(match[0])};", text)


def _dot(text: str) -> str:
    # Graphviz reads backslash sequences and HTML entities in any quoted label.
    return text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
