"""The changes of a run for somebody who knows it up to a cursor: rows of tasks, names, parts.

The cursor holds the lengths of all that only grows, so whoever sends it back needs no memory
here.  A viewer that is slow asks less often and gets what changed in between at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isnan
from typing import Any, NamedTuple, TypeVar

from .._text import printable
from ._columns import UNKNOWN
from ._run import LiveRun

__all__ = ["MAX_ROWS", "Cursor", "changes"]

MAX_ROWS = 300_000
"""The last number of a task that a page lists; the tasks behind it are only counted."""

ROWS_AT_ONCE = 5_000
"""The most tasks in one message."""

TICK_S = 1e-6
"""The unit of the times in a message."""

T = TypeVar("T")


class Cursor(NamedTuple):
    """The state in which somebody knows a run.

    Attributes:
        epoch: what tells the model from that of another run or of another server.
        changes: the cursor of the model.
        filled: the number below which all tasks were sent for the first time; -1 for all.
        parts: the number of the last part of the page that was sent.
    """

    epoch: str = ""
    changes: int = 0
    filled: int = 0
    functions: int = 0
    backends: int = 0
    workers: int = 0
    workflows: int = 0
    lanes: int = 0
    attempts: int = 0
    causes: int = 0
    parts: int = 0

    def __str__(self) -> str:
        return ".".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the cursor that was written as *text*; the first one for any other text."""
        words = text.split(".")
        if len(words) != len(cls._fields):
            return cls()
        try:
            return cls(words[0], *map(int, words[1:]))
        except ValueError:
            return cls()


def changes(run: LiveRun, cursor: Cursor) -> tuple[dict[str, Any], Cursor]:
    """Return what changed in *run* after *cursor*, which is of this run, and the next cursor.

    The fields are absent where nothing changed.  If `Cursor.filled` of the next cursor is not
    -1, or the field "more" is there, there is more.
    """
    found: dict[str, Any] = {}
    changed = run.changed_since(cursor.changes)
    if cursor.filled == 0 or changed is None:
        cursor = cursor._replace(changes=run.cursor, filled=1)
        changed = ()
    if cursor.filled > 0:
        last = min(run.columns.size, MAX_ROWS + 1)
        end = min(cursor.filled + ROWS_AT_ONCE, last)
        numbers: Sequence[int] = range(cursor.filled, end)
        cursor = cursor._replace(filled=-1 if end >= last else end)
    else:
        numbers = changed
        cursor = cursor._replace(changes=run.cursor)
    rows = _rows(run, numbers)
    if rows:
        found["rows"] = rows
    lists: dict[str, Sequence[Any]] = {
        "functions": run.functions,
        "backends": run.backend_names,
        "workers": run.workers,
        "workflows": run.workflows,
        "lanes": run.lanes.listed,
        "attempts": run.failed_attempts,
        "causes": run.causes,
    }
    for name, values in lists.items():
        new = values[getattr(cursor, name) :]
        if new:
            found[name] = [_SHOWN[name](value) for value in new]
            cursor = cursor._replace(**{name: len(values)})  # type: ignore[arg-type]
    return found, cursor


_SHOWN: dict[str, Any] = {
    "functions": lambda each: [printable(each.name), each.kind, each.cores],
    "backends": printable,
    "workers": printable,
    "workflows": printable,
    "lanes": lambda each: [_place(each[0]), _place(each[1]), each[2]],
    "attempts": lambda each: [
        each[0],
        each[2].attempt,
        None if each[1] < 0 else each[1],
        _tick(each[2].started),
        _tick(each[2].ended),
        printable(each[2].error.type),
    ],
    "causes": printable,
}


def _rows(run: LiveRun, numbers: Sequence[int]) -> dict[str, Any]:
    """Return the columns of the tasks *numbers*; a column whose items are equal is that item."""
    columns = run.columns
    state = columns.state
    numbers = [number for number in numbers if number <= MAX_ROWS and state[number] != UNKNOWN]
    if not numbers:
        return {}
    after = [columns.after(number) for number in numbers]
    found: dict[str, Any] = {"number": numbers}
    for name in ("state", "function", "attempt"):
        found[name] = _column([getattr(columns, name)[number] for number in numbers])
    for name in ("backend", "worker", "workflow", "lane", "cause"):
        column = getattr(columns, name)
        found[name] = _column([_place(column[number]) for number in numbers])
    for name in ("added", "ready", "started", "ended"):
        column = getattr(columns, name)
        found[name] = _column([_tick(column[number]) for number in numbers])
    found["dependencies"] = _column([len(each) for each in after])
    found["after"] = [
        number - other for number, each in zip(numbers, after, strict=True) for other in each
    ]
    return found


def _column(values: list[T]) -> list[T] | T:
    first = values[0]
    return first if len(values) > 1 and values.count(first) == len(values) else values


def _place(value: int) -> int | None:
    return None if value < 0 else value


def _tick(time: float | None) -> int | None:
    return None if time is None or isnan(time) else round(time / TICK_S)


def message(fields: dict[str, Any], cursor: Cursor) -> bytes:
    """Return *fields* as one server-sent event, whose id is the next *cursor*."""
    return f"id: {cursor}\ndata: {json.dumps(fields, separators=(',', ':'))}\n\n".encode("ascii")
