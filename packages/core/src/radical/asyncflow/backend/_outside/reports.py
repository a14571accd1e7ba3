"""Reports on their way to the program: flat frames of numbers, and beside them what is pickled.

A report is five numbers: its task and attempt, its kind, how many parts of the message are its own,
and its time in nanoseconds.
"""

from __future__ import annotations

import pickle
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ...errors import SerializationError
from ...model import TaskState
from ...worker import ATOMS, Buffer, Failure, dump, unsent
from .requests import load_numbers

__all__ = [
    "ANSWERED",
    "ENDED",
    "FAILED_START",
    "REPORTS",
    "STARTED",
    "Kind",
    "News",
    "dump_news",
    "load_news",
]

STARTED, FAILED_START, REPORTS, ENDED = (bytes([number]) for number in range(4))
"""The first part of each message to the program."""


class Kind:
    """The kinds of news; those from DONE to UNSENT end an attempt."""

    RUNNING, DONE, FAILED, CANCELLED, UNSENT = range(5)
    REJECTED = 5
    """An error of `submit`, for what of its batch has no terminal report."""
    SERVING, OUTPUT, TRACED, LOST, ANSWERED = range(6, 11)


ANSWERED = Kind.ANSWERED

_KIND_OF = {
    TaskState.RUNNING: Kind.RUNNING,
    TaskState.DONE: Kind.DONE,
    TaskState.FAILED: Kind.FAILED,
    TaskState.CANCELLED: Kind.CANCELLED,
}
_BYTES = b"b"  # the part in front of a value that is bytes; nothing is in front of a pickle
_NO_TIME = -1
_FIELDS = 5


class News(NamedTuple):
    """One report, or what else the process tells of an attempt.

    Attributes:
        value: as in a `Report`; for other kinds what the method of the sink is given.
    """

    task_id: int
    attempt: int
    kind: int
    value: Any = None
    time: float | None = None


def kind_of(state: TaskState) -> int:
    """Return the kind of a report with this *state*.

    Raises:
        ValueError: a backend reports no such state.
    """
    kind = _KIND_OF.get(state)
    if kind is None:
        raise ValueError(f"a backend reports no state {state!r}")
    return kind


def dump_news(
    covered: int, news: Iterable[tuple[int, int, int, Any, float | None]]
) -> list[Buffer]:
    """Return the message for *news*, which cover the first *covered* marks."""
    numbers = array("q", (covered,))
    parts: list[Buffer] = []
    for task_id, attempt, kind, value, time in news:
        size = len(parts)
        if value is not None:
            try:
                _add_value(kind, value, parts)
            except BaseException as error:  # whatever a value's own methods raise
                del parts[size:]
                kind = Kind.UNSENT
                parts.append(unsent("result", error)[1])
        moment = _NO_TIME if time is None else int(time * 1e9)
        numbers.extend((task_id, attempt, kind, len(parts) - size, moment))
    return [REPORTS, numbers.tobytes(), *parts]


def _add_value(kind: int, value: Any, parts: list[Buffer]) -> None:
    if kind == Kind.DONE:
        if type(value) is bytes:
            parts += (_BYTES, value)
        elif type(value) in ATOMS:
            parts.append(pickle.dumps(value, 5))
        else:
            buffers: list[Buffer] = []
            parts += (dump(value, buffers), *buffers)
    elif kind in (Kind.FAILED, Kind.REJECTED):
        parts.append(pickle.dumps(Failure.pack(value)))
    elif kind == Kind.LOST:
        error, unbegun = value
        parts.append(pickle.dumps((Failure.pack(error), list(unbegun))))
    else:
        parts.append(dump(value))


def load_news(message: Sequence[Buffer]) -> tuple[int, list[News]]:
    """Return how many marks *message* covers, and its news."""
    numbers = load_numbers(message[1])
    found: list[News] = []
    add = found.append
    make = tuple.__new__
    fields = iter(numbers)
    covered = next(fields)
    at = 2
    for task_id, attempt, kind, size, moment in zip(*[fields] * _FIELDS, strict=True):
        time = None if moment < 0 else moment / 1e9
        if not size:
            add(make(News, (task_id, attempt, kind, None, time)))
            continue
        kind, value = _load_value(kind, message[at : at + size])
        at += size
        add(make(News, (task_id, attempt, kind, value, time)))
    return covered, found


def _load_value(kind: int, parts: Sequence[Buffer]) -> tuple[int, Any]:
    """Return the kind, which is another if the value cannot be rebuilt here, and the value."""
    if kind == Kind.DONE and len(parts) == 2 and parts[0] == _BYTES:
        return kind, bytes(parts[1])
    try:
        content = pickle.loads(parts[0], buffers=parts[1:])
    except BaseException as error:  # unpickling runs foreign code
        if kind != Kind.DONE:
            raise
        return Kind.FAILED, _unreadable(error)
    if kind in (Kind.FAILED, Kind.REJECTED):
        return kind, content.rebuild()
    if kind == Kind.LOST:
        failure, unbegun = content
        return kind, (failure.rebuild(), unbegun)
    if kind == Kind.UNSENT:
        return Kind.FAILED, SerializationError(*content)
    return kind, content


def _unreadable(error: BaseException) -> SerializationError:
    from ...worker import unsendable

    return unsendable("result", error)
