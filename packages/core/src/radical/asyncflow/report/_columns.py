"""A run as the page's script wants it: columns, each value of many tasks named once.

A column is a list with an item for each task, in the order of the calls; one whose items
are all equal is that item alone.  Times count from what comes before them (added from
the task before, ready from added, ...), in *unit* seconds; null is "not known".
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar

from .._text import cut_middle, printable
from ..journal import ErrorRecord, TaskRecord
from ._facts import STATES, Facts
from ._lanes import start_of
from .words import block

__all__ = ["OUTPUT", "columns", "embedded"]

OUTPUT = 8 << 20
"""Characters of output and tracebacks that a page carries; of failures first."""

_TEXT = 4_000
"""Characters of one text; of a longer one the end."""

T = TypeVar("T", bound=Hashable)


def embedded(value: Any) -> str:
    """*value* as JSON that can stand in a ``<script>`` whatever its texts say."""
    text = json.dumps(value, separators=(",", ":"))  # ASCII: U+2028 and lone halves are escaped
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def columns(facts: Facts) -> dict[str, Any]:
    """All that the script draws and lists."""
    run = facts.run
    tasks = list(run.tasks.values())
    unit = _unit(run.length)
    backends, workers, workflows = _Names(), _Names(), _Names()
    functions = _Names()
    texts = _Texts(OUTPUT)
    for task in tasks:  # failures first: where room is short, they are what one looks for
        if task.state != "DONE":
            texts.keep(task)
    data: dict[str, Any] = {
        "unit": unit,
        "length": round(run.length / unit),
        "states": STATES,
        "number": _numbers(tasks),
        "function": _even([functions.place((t.name, t.kind)) for t in tasks]),
        "state": _even([STATES.index(t.state) for t in tasks]),
        "backend": _even([backends.place(t.backend) for t in tasks]),
        "worker": _even([workers.place(t.worker) for t in tasks]),
        "workflow": _even([workflows.place(t.workflow) for t in tasks]),
        "attempt": _even([t.attempt for t in tasks]),
        **_times(tasks, unit),
        **_links(tasks),
        "reused": _some((t.number, t.reused and printable(t.reused)) for t in tasks),
        "why": _some((t.number, t.why and printable(t.why)) for t in tasks),
        "bytes": _even([t.result_bytes for t in tasks]),
        "exit": _some((t.number, t.exit_code) for t in tasks),
    }
    for task in tasks:
        texts.keep(task)
    places = _places(facts)
    data |= {
        "error": texts.errors,
        "out": texts.out,
        "err": texts.err,
        "lane": _even([places.get((t.number, t.attempt)) for t in tasks]),
        "failed": [
            [
                *(t.number, f.attempt, places.get((t.number, f.attempt))),
                *(_tick(f.started, unit), _tick(f.ended, unit), texts.error(f.error)),
            ]
            for t in facts.retried
            for f in t.failed
        ],
        "texts": texts.listed,
        "dropped": texts.dropped,
        "lanes": [
            [backends.place(lane.backend), workers.place(lane.worker), lane.place]
            for lane in facts.lanes
        ],
        "slots": [
            [backends.place(b.name), b.slots, round(b.up / unit), round(b.down / unit)]
            for b in facts.backends
        ],
        "critical": [task.number for task in facts.critical_path],
        "functions": functions.listed,
        "backends": backends.listed,
        "workers": workers.listed,
        "workflows": workflows.listed,
    }
    return data


class _Names:
    """Values, each with a place of its own."""

    def __init__(self) -> None:
        self._places: dict[Any, int] = {}

    def place(self, name: Hashable) -> int | None:
        if name is None or name == "":
            return None
        return self._places.setdefault(name, len(self._places))

    @property
    def listed(self) -> list[Any]:
        return [
            printable(name) if isinstance(name, str) else [printable(part) for part in name]
            for name in self._places
        ]


class _Texts:
    """Long texts, each once, as long as there is room.

    Attributes:
        errors, out, err: ``{task: place of its text}``.
        dropped: how many tasks have a text that found no room.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._places: dict[str, int] = {}
        self._seen: set[int] = set()
        self.errors: dict[int, list[Any]] = {}
        self.out: dict[int, int] = {}
        self.err: dict[int, int] = {}
        self.dropped = 0

    def keep(self, task: TaskRecord) -> None:
        """Note all texts of *task*; a second time does nothing."""
        if task.number in self._seen:
            return
        self._seen.add(task.number)
        room = True
        if task.error is not None:
            self.errors[task.number] = self.error(task.error)
            room = not task.error.traceback or self.errors[task.number][2] is not None
        for text, places in ((task.stdout, self.out), (task.stderr, self.err)):
            if text:
                place = self._place(text)
                if place is None:
                    room = False
                else:
                    places[task.number] = place
        self.dropped += not room

    def error(self, error: ErrorRecord) -> list[Any]:
        """Type, text and traceback; the texts by place, None without one (or without room)."""
        return [printable(error.type), self._place(error.text), self._place(error.traceback)]

    def _place(self, text: str) -> int | None:
        if not text:
            return None
        text = cut_middle(text, _TEXT, head=0)
        if text not in self._places:
            if self._room < len(text):
                return None
            self._room -= len(text)
            self._places[text] = len(self._places)
        return self._places[text]

    @property
    def listed(self) -> list[str]:
        return [block(text) for text in self._places]


def _unit(length: float) -> float:
    """Seconds of a tick: a ten-millionth of the run, but no less than a microsecond."""
    return 10.0 ** max(-6, math.ceil(math.log10(max(length, 1e-6))) - 8)


def _even(values: list[T]) -> list[T] | T:
    """*values*, or the one value that all of them are."""
    if values and all(value == values[0] for value in values):
        return values[0]
    return values


def _tick(time: float | None, unit: float) -> int | None:
    return None if time is None else round(time / unit)


def _some(pairs: Iterable[tuple[int, Any]]) -> dict[int, Any]:
    return {number: value for number, value in pairs if value is not None and value != ""}


def _numbers(tasks: Sequence[TaskRecord]) -> list[int] | int:
    """The numbers; how many there are if they are 1, 2, 3, ..."""
    numbers = [task.number for task in tasks]
    return len(numbers) if numbers == [*range(1, len(numbers) + 1)] else numbers


def _times(tasks: Sequence[TaskRecord], unit: float) -> dict[str, Any]:
    names = ("added", "ready", "started", "ended")
    found: dict[str, list[int | None]] = {name: [] for name in names}
    last = 0
    for task in tasks:
        before = last
        for name, time in zip(
            names, (task.added, task.ready, start_of(task), task.ended), strict=True
        ):
            if time is None:
                found[name].append(None)
                continue
            tick = round(time / unit)
            found[name].append(tick - before)
            before = tick
            if name == "added":
                last = tick
    return {name: _even(values) for name, values in found.items()}


def _links(tasks: Sequence[TaskRecord]) -> dict[str, Any]:
    """``links``: how many each task has; ``after``: how far back each of them is."""
    return {
        "links": _even([len(task.after) for task in tasks]),
        "after": [task.number - other for task in tasks for other in task.after],
    }


def _places(facts: Facts) -> dict[tuple[int, int], int]:
    """The lane of each attempt, by number of task and of attempt."""
    return {
        (bar.task.number, bar.attempt): place
        for place, lane in enumerate(facts.lanes)
        for bar in lane.bars
    }
