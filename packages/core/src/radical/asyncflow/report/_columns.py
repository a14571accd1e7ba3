"""The data of a page: one column for each property of the tasks.

A column is a list with one item for each task, in the order of the calls; if all items
are equal, it is that item alone.  Names are listed once, and columns hold their places in
the list.  A time counts from the time before it (added from that of the task before, ready
from added, and so on), in ticks of *unit* seconds; null means that it is not known.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar

from .._text import cut_middle, printable, printable_lines
from ..journal import ErrorRecord, TaskRecord
from ._facts import STATES, Facts
from ._lanes import cores_of, end_of, start_of
from .words import log_line, usage_figures

__all__ = ["MAX_OUTPUT", "columns", "embedded"]

MAX_OUTPUT = 8 << 20
"""The most characters of output and tracebacks in a page; those of failures come first."""

MOST_USED = 10_000
"""The most tasks of which a page says what each used."""

_MAX_TEXT = 4_000
"""The most characters of one text; a longer one loses its beginning."""

T = TypeVar("T", bound=Hashable)


def embedded(value: Any) -> str:
    """Return *value* as JSON that is safe in a ``<script>``, whatever its texts say."""
    text = json.dumps(value, separators=(",", ":"))  # ASCII: U+2028 and lone halves are escaped
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def columns(facts: Facts) -> dict[str, Any]:
    """Return everything that the script of the page draws and lists."""
    run = facts.run
    tasks = list(run.tasks.values())
    unit = _unit(run.length)
    names = _NameLists()
    return {
        "unit": unit,
        "length": round(run.length / unit),
        "states": STATES,
        "critical": [task.number for task in facts.critical_path],
        **_tasks(tasks, names),
        **_times(tasks, unit),
        **_dependencies(tasks),
        **_attempts(facts, unit, names),
        **names.listed,
    }


def _tasks(tasks: Sequence[TaskRecord], names: _NameLists) -> dict[str, Any]:
    return {
        "number": _numbers(tasks),
        "function": _column([names.functions.place((task.name, task.kind)) for task in tasks]),
        "state": _column([STATES.index(task.state) for task in tasks]),
        "backend": _column([names.backends.place(task.backend) for task in tasks]),
        "worker": _column([names.workers.place(task.worker) for task in tasks]),
        "workflow": _column([names.workflows.place(task.workflow) for task in tasks]),
        "attempt": _column([task.attempt for task in tasks]),
        "bytes": _column([task.result_bytes for task in tasks]),
        "reused": _known((task.number, task.reused and printable(task.reused)) for task in tasks),
        "why": _known((task.number, task.why and printable(task.why)) for task in tasks),
        "cores": _known(
            (task.number, cores if (cores := cores_of(task)) > 1 else None) for task in tasks
        ),
        "arguments": _known(
            (task.number, task.arguments and printable(task.arguments)) for task in tasks
        ),
        "used": _used(tasks),
        "files": _known(
            (task.number, " and ".join(map(printable, filter(None, task.paths or ()))))
            for task in tasks
        ),
        "exit": _known((task.number, task.exit_code) for task in tasks),
    }


def _used(tasks: Sequence[TaskRecord]) -> dict[int, str] | None:
    """Return what tasks used, in words; of many tasks the distributions alone are in the page."""
    if len(tasks) > MOST_USED:
        return None
    return {
        task.number: ", ".join(f"{what} {figure}" for what, figure in usage_figures(task.usage))
        for task in tasks
        if task.usage is not None
    }


def _attempts(facts: Facts, unit: float, names: _NameLists) -> dict[str, Any]:
    """Return the lanes, what runs on them, and the texts that attempts left."""
    tasks = list(facts.run.tasks.values())
    lanes = _lane_places(facts)
    texts = _Texts(MAX_OUTPUT)
    for task in tasks:  # failures first: if room is short, they are what the reader needs
        if task.state != "DONE":
            texts.keep(task)
    for task in tasks:
        texts.keep(task)
    failed = [
        [
            task.number,
            attempt.attempt,
            lanes.get((task.number, attempt.attempt)),
            _tick(attempt.started, unit),
            _tick(attempt.ended, unit),
            texts.error(attempt.error),
        ]
        for task in facts.retried
        for attempt in task.failed
    ]
    return {
        "lane": _column([lanes.get((task.number, task.attempt)) for task in tasks]),
        "lanes": [
            [names.backends.place(lane.backend), names.workers.place(lane.worker), lane.place]
            for lane in facts.lanes
        ],
        "slots": [
            [
                names.backends.place(backend.name),
                backend.slots,
                round(backend.up / unit),
                round(backend.down / unit),
            ]
            for backend in facts.backends
        ],
        "failed": failed,
        "error": texts.errors,
        "out": texts.out,
        "err": texts.err,
        "log": texts.log,
        "texts": texts.listed,
        "dropped": texts.dropped,
    }


class _NameLists:
    """The names of a page that columns refer to."""

    def __init__(self) -> None:
        self.functions = _Names()
        self.backends = _Names()
        self.workers = _Names()
        self.workflows = _Names()

    @property
    def listed(self) -> dict[str, list[Any]]:
        return {
            "functions": self.functions.listed,
            "backends": self.backends.listed,
            "workers": self.workers.listed,
            "workflows": self.workflows.listed,
        }


class _Names:
    """Names in a list, each once."""

    def __init__(self) -> None:
        self._places: dict[Any, int] = {}

    def place(self, name: Hashable) -> int | None:
        """Return the place of *name* in the list; None for no name."""
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
    """Long texts in a list, each once, as long as there is room.

    Attributes:
        errors: what `error` returned, by the number of the task.
        out, err, log: the places of stdout, stderr and log records, by the number of the task.
        dropped: the number of tasks with a text for which there was no room.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._places: dict[str, int] = {}
        self._seen: set[int] = set()
        self.errors: dict[int, list[Any]] = {}
        self.out: dict[int, int] = {}
        self.err: dict[int, int] = {}
        self.log: dict[int, int] = {}
        self.dropped = 0

    def keep(self, task: TaskRecord) -> None:
        """Add all texts of *task*, unless they are there already."""
        if task.number in self._seen:
            return
        self._seen.add(task.number)
        room = True
        if task.error is not None:
            self.errors[task.number] = self.error(task.error)
            room = not task.error.traceback or self.errors[task.number][2] is not None
        logs = "\n".join(map(log_line, task.logs))
        for text, places in (
            (task.stdout, self.out),
            (task.stderr, self.err),
            (logs, self.log),
        ):
            if text:
                place = self._place(text)
                if place is None:
                    room = False
                else:
                    places[task.number] = place
        self.dropped += not room

    def error(self, error: ErrorRecord) -> list[Any]:
        """Return the type of *error* and the places of its text and traceback, None for none."""
        return [printable(error.type), self._place(error.text), self._place(error.traceback)]

    def _place(self, text: str) -> int | None:
        if not text:
            return None
        text = cut_middle(text, _MAX_TEXT, head=0)
        if text not in self._places:
            if self._room < len(text):
                return None
            self._room -= len(text)
            self._places[text] = len(self._places)
        return self._places[text]

    @property
    def listed(self) -> list[str]:
        return [printable_lines(text) for text in self._places]


def _unit(length: float) -> float:
    """Return the seconds of a tick: a ten-millionth of the run, at least a microsecond."""
    return 10.0 ** max(-6, math.ceil(math.log10(max(length, 1e-6))) - 8)


def _column(values: list[T]) -> list[T] | T:
    """Return *values*, or the one value that all of them are."""
    if values and all(value == values[0] for value in values):
        return values[0]
    return values


def _tick(time: float | None, unit: float) -> int | None:
    return None if time is None else round(time / unit)


def _known(pairs: Iterable[tuple[int, Any]]) -> dict[int, Any]:
    """Return the *pairs* that have a value."""
    return {number: value for number, value in pairs if value is not None and value != ""}


def _numbers(tasks: Sequence[TaskRecord]) -> list[int] | int:
    """Return the numbers of *tasks*; if they are 1, 2, 3, ... how many there are."""
    numbers = [task.number for task in tasks]
    return len(numbers) if numbers == [*range(1, len(numbers) + 1)] else numbers


def _times(tasks: Sequence[TaskRecord], unit: float) -> dict[str, Any]:
    names = ("added", "ready", "started", "ended")
    found: dict[str, list[int | None]] = {name: [] for name in names}
    last = 0
    for task in tasks:
        before = last
        for name, time in zip(
            names, (task.added, task.ready, start_of(task), end_of(task)), strict=True
        ):
            if time is None:
                found[name].append(None)
                continue
            tick = round(time / unit)
            found[name].append(tick - before)
            before = tick
            if name == "added":
                last = tick
    return {name: _column(values) for name, values in found.items()}


def _dependencies(tasks: Sequence[TaskRecord]) -> dict[str, Any]:
    """Return how many dependencies each task has, and how far before it each of them is."""
    return {
        "dependencies": _column([len(task.after) for task in tasks]),
        "after": [task.number - other for task in tasks for other in task.after],
    }


def _lane_places(facts: Facts) -> dict[tuple[int, int], int]:
    """Return the place of the lane of each attempt, by the numbers of task and attempt."""
    return {
        (bar.task.number, bar.attempt): place
        for place, lane in enumerate(facts.lanes)
        for bar in lane.bars
    }
