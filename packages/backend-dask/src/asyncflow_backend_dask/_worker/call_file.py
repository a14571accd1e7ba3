"""A record of the calls that began in a worker, which the worker's death does not erase.

The call file is a small file beside the worker's own folder, which its nanny removes.  It
is mapped into the worker's memory: each call costs a few stores and no system call.  After
the worker was killed, any process on the same machine can read which calls had begun there,
and how those ended of which the worker could not tell any more.

It begins with flags, and the calls that the scheduler has taken back from a worker that
lives.  Then each thread has lines, one for each call, and behind
them room for the answers, which are what the ends of calls bring.  Both are filled again and
again.
"""

from __future__ import annotations

import ast
import itertools
import mmap
import os
import struct
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from .._messages.events import DONE_INLINE, DONE_REMOTE

__all__ = [
    "BegunCalls",
    "CallFile",
    "call_files_below",
    "close_call_file",
    "read_begun_calls",
    "remove_call_file",
    "take_back",
]

_SUFFIX = ".calls"
_HEAD_BYTES = 64 * 1024  # for the flags and what was taken back; a multiple of a page
_CLOSED, _INCOMPLETE, _TAKEN_BACK = 0, 1, 2
"""The places of the flags that no call may begin any more, that some calls had no room, and that
some were taken back."""
_NUMBER = struct.Struct("<I")
_NUMBER_AT, _TAKEN_BACK_AT = 4, 8  # of the calls that were taken back: their number, and the first
_BACK = struct.Struct("<8sQII")
"""End of the topic, task id, attempt, and how often its order had been sent again before."""

_LINE = struct.Struct("<B8sQI3xQ2IfB3xd")
"""Valid, end of the topic, task id, attempt, count; place and length of the answer, seconds,
the kind of the end, plus one, and its moment."""
_END = struct.Struct("<2If")
_MOMENT = struct.Struct("<d")
_END_AT, _KIND_AT, _MOMENT_AT = 32, 44, 48  # within a line
_LINES = 16_384
"""The number of lines of a thread.

A line is overwritten when so many calls have begun after it.  The ends of calls travel in their
order, so the end of that call has arrived by then, unless the program is as far behind.
"""
_ANSWERS_BYTES = 512 * 1024
"""The room for the answers of a thread, each with the count of its line before it."""
_COUNT = struct.Struct("<Q")

_Attempt = tuple[int, int]
"""Task id and attempt."""


class _Thread(threading.local):
    lines: mmap.mmap | None = None
    count = 0
    at = 0  # of the line that was begun last
    free = 0  # of the next answer
    has_room = True


class CallFile:
    """The call file of this process; each thread has lines of its own."""

    def __init__(self, folder: str) -> None:
        """Create the file.

        Raises:
            OSError: the disk is full, or nothing can be written there.
        """
        path = _path(folder)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        weakref.finalize(self, os.close, self._descriptor)
        try:
            self._flags = self._map(0, _HEAD_BYTES)
        except OSError:
            path.unlink()
            raise
        self._thread = _Thread()
        self._numbers = itertools.count()

    @property
    def is_closed(self) -> bool:
        """True as soon as the scheduler counts this worker as dead, and has read the file.

        A call that was begun before this is asked is in what the scheduler has read, or may
        not run.
        """
        return bool(self._flags[_CLOSED])

    def is_taken_back(self, topic: str, task_id: int, attempt: int, resends: int) -> bool:
        """Return whether the scheduler gives a call to another worker, though this one lives."""
        flags = self._flags
        if not flags[_TAKEN_BACK]:
            return False
        (number,) = _NUMBER.unpack_from(flags, _NUMBER_AT)
        size = number * _BACK.size
        taken = flags[_TAKEN_BACK_AT : _TAKEN_BACK_AT + size]
        return (_short(topic), task_id, attempt, resends) in _BACK.iter_unpack(taken)

    def begin(self, topic: str, task_id: int, attempt: int) -> bool:
        """Write that this thread begins a call; return False if there is no room for that.

        The line stays when the call has ended.  If the worker dies before it could say so,
        that call must not run again either.
        """
        thread = self._thread
        lines = thread.lines
        if lines is None:
            lines = self._make_lines(thread)
            if lines is None:
                return False
        thread.at = at = thread.count % _LINES * _LINE.size
        thread.count += 1
        lines[at] = 0  # a half-written line does not count
        _LINE.pack_into(
            *(lines, at, 0, _short(topic), task_id, attempt, thread.count, 0, 0, 0.0, 0, 0.0)
        )
        lines[at] = 1
        return True

    def end(self, kind: int, seconds: float, data: Any, moment: float) -> None:
        """Write how the call has ended that this thread began last: the end's event.

        Nothing is written of a value that stays in the worker, because it dies with that, and
        of an answer that is very large.
        """
        thread = self._thread
        lines = thread.lines
        if lines is None or kind == DONE_REMOTE:
            return
        answer: bytes = data if kind == DONE_INLINE else repr(data).encode()
        size = len(answer)
        begin = thread.free
        if begin + _COUNT.size + size > _ANSWERS_BYTES:
            begin = 0
            if _COUNT.size + size > _ANSWERS_BYTES:
                return
        thread.free = begin + _COUNT.size + size
        first = _LINES * _LINE.size + begin
        _COUNT.pack_into(lines, first, thread.count)
        lines[first + _COUNT.size : first + _COUNT.size + size] = answer
        at = thread.at
        _END.pack_into(lines, at + _END_AT, begin, size, seconds)
        _MOMENT.pack_into(lines, at + _MOMENT_AT, moment)
        lines[at + _KIND_AT] = kind + 1  # the last of all: now the end is there

    def _make_lines(self, thread: _Thread) -> mmap.mmap | None:
        """Return new lines for *thread*; None if the disk is full, or was before."""
        if not thread.has_room:
            return None
        size = _thread_bytes()
        try:
            thread.lines = self._map(_HEAD_BYTES + next(self._numbers) * size, size)
        except OSError:
            thread.has_room = False
            self._flags[_INCOMPLETE] = 1
        return thread.lines

    def _map(self, at: int, size: int) -> mmap.mmap:
        # Really there: a store into a hole of a file on a full disk would end the worker.
        os.posix_fallocate(self._descriptor, at, size)
        return mmap.mmap(self._descriptor, size, offset=at)


class BegunCalls(NamedTuple):
    """The calls of one topic that began in a worker.

    Attributes:
        all: all that the file still has.
        oldest: the oldest ones of threads that have overwritten others.
        ended: of those that the file knows the end of: kind, seconds, data and moment of its event.
        is_complete: whether every call that began was written to the file.
    """

    all: set[_Attempt]
    oldest: set[_Attempt]
    ended: dict[_Attempt, tuple[int, float, Any, float]]
    is_complete: bool


def read_begun_calls(file: Path, topic: str) -> BegunCalls:
    """Return the calls of *topic* that the call file *file* has.

    Raises:
        OSError: it cannot be read.
    """
    data = file.read_bytes()
    begun = BegunCalls(set(), set(), {}, not (data and data[_INCOMPLETE]))
    short = _short(topic)
    size = _thread_bytes()
    for at in range(_HEAD_BYTES, len(data) - size + 1, size):
        oldest: tuple[int, _Attempt] | None = None
        for count, end, one, told in _lines_in(memoryview(data)[at : at + size]):
            if oldest is None or count < oldest[0]:
                oldest = count, one if end == short else (0, 0)
            if end == short:
                begun.all.add(one)
                if told is not None:
                    begun.ended[one] = told
        if oldest is not None and oldest[0] > 1 and oldest[1][0]:
            begun.oldest.add(oldest[1])
    return begun


def _lines_in(
    part: memoryview,
) -> Iterator[tuple[int, bytes, _Attempt, tuple[int, float, Any, float] | None]]:
    """Yield of each line of a thread its count, end of the topic, attempt, and what it tells."""
    lines, answers = part[: _LINES * _LINE.size], part[_LINES * _LINE.size :]
    for valid, end, *one, count, at, size, seconds, kind, moment in _LINE.iter_unpack(lines):
        if not valid:
            continue
        told = None
        if kind and _COUNT.unpack_from(answers, at) == (count,):
            answer = bytes(answers[at + _COUNT.size : at + _COUNT.size + size])
            data = answer if kind - 1 == DONE_INLINE else ast.literal_eval(answer.decode())
            told = kind - 1, seconds, data, moment
        yield count, end, (one[0], one[1]), told


def close_call_file(folder: str, topic: str) -> BegunCalls | None:
    """Forbid a worker to begin more calls, and return those of *topic* that have begun.

    A worker that the scheduler counts as dead may still run for a while.  None means that
    there is no call file.
    """
    path = _path(folder)
    try:
        with path.open("r+b", buffering=0) as file:
            file.seek(_CLOSED)
            file.write(b"\1")
        return read_begun_calls(path, topic)
    except OSError:
        return None


def take_back(folder: str, topic: str, calls: Sequence[tuple[int, int, int]]) -> BegunCalls | None:
    """Forbid a worker that lives to begin *calls*, and return those that have begun.

    Args:
        calls: of each the task id, attempt, and how often its order has been sent again.

    Returns:
        Calls that cannot be forbidden count as begun.  None means that there is no call file.
    """
    path = _path(folder)
    short = _short(topic)
    try:
        with path.open("r+b", buffering=0) as file:
            (number,) = _NUMBER.unpack(_read(file, _NUMBER_AT, _NUMBER.size))
            room = (_HEAD_BYTES - _TAKEN_BACK_AT) // _BACK.size - number
            forbidden = calls[:room]
            at = _TAKEN_BACK_AT + number * _BACK.size
            for data, place in (
                (b"".join(_BACK.pack(short, *call) for call in forbidden), at),
                (_NUMBER.pack(number + len(forbidden)), _NUMBER_AT),
                (b"\1", _TAKEN_BACK),
            ):
                file.seek(place)
                file.write(data)
        begun = read_begun_calls(path, topic)
    except OSError:
        return None
    begun.all.update((task_id, attempt) for task_id, attempt, _ in calls[room:])
    return begun


def _read(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def call_files_below(folder: str) -> list[Path]:
    """Return the call files of all workers whose own folders are below *folder*."""
    return [*Path(folder).rglob(f"*{_SUFFIX}")]


def remove_call_file(folder: str) -> None:
    """Remove the call file of a worker that is gone."""
    _path(folder).unlink(missing_ok=True)


def _thread_bytes() -> int:
    """Return the size of the part of a thread, a multiple of the size of a page."""
    return _LINES * _LINE.size + _ANSWERS_BYTES


def _path(folder: str) -> Path:
    return Path(f"{folder}{_SUFFIX}")


def _short(topic: str) -> bytes:
    return topic[-8:].encode()
