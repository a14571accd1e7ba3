"""A record of the calls that began in a worker, which the worker's death does not erase.

The call file is a small file beside the worker's own folder, which its nanny removes.  It
is mapped into the worker's memory: each call costs a store of 32 bytes and no system
call.  After the worker was killed, any process on the same machine can read which calls
had begun there, and of which it died.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import threading
import weakref
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "BegunCalls",
    "CallFile",
    "call_files_below",
    "read_begun_calls",
    "read_call_file",
    "remove_call_file",
]

_SUFFIX = ".calls"
_RECORD = struct.Struct("<B8sQI3xQ")  # valid, end of the topic, task id, attempt, count
_LINES = 16_384
"""The number of lines of a thread, which it fills again and again.

A line is overwritten when so many calls have begun after it.  The ends of calls travel in their
order, so the end of that call has arrived by then, unless the program is as far behind.
"""
_RING_BYTES = _LINES * _RECORD.size  # a multiple of the size of a page

_Attempt = tuple[int, int]
"""Task id and attempt."""


class _Thread(threading.local):
    lines: mmap.mmap | None = None
    count = 0
    has_room = True


class CallFile:
    """The call file of this process; each thread has lines of its own."""

    def __init__(self, folder: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
        self._descriptor = os.open(_path(folder), flags, 0o600)
        weakref.finalize(self, os.close, self._descriptor)
        self._thread = _Thread()
        self._numbers = itertools.count()

    def begin(self, topic: str, task_id: int, attempt: int) -> bool:
        """Write that this thread begins a call; return False if there is no room for that.

        The record stays when the call has ended.  If the worker died before it could say so,
        that call must not run again either.
        """
        thread = self._thread
        lines = thread.lines
        if lines is None:
            lines = self._make_lines(thread)
            if lines is None:
                return False
        offset = thread.count % _LINES * _RECORD.size
        thread.count += 1
        lines[offset] = 0  # a half-written line does not count
        _RECORD.pack_into(lines, offset, 0, _short(topic), task_id, attempt, thread.count)
        lines[offset] = 1
        return True

    def _make_lines(self, thread: _Thread) -> mmap.mmap | None:
        """Return new lines for *thread*; None if the disk is full, or was before."""
        if not thread.has_room:
            return None
        at = next(self._numbers) * _RING_BYTES
        try:
            # Really there: a store into a hole of a file on a full disk would end the worker.
            os.posix_fallocate(self._descriptor, at, _RING_BYTES)
            thread.lines = mmap.mmap(self._descriptor, _RING_BYTES, offset=at)
        except OSError:
            thread.has_room = False
        return thread.lines


class BegunCalls(NamedTuple):
    """The calls of one topic that began in a worker.

    Attributes:
        last: those that were the last of their threads.
        all: all that the file still has.
        oldest: the oldest ones of threads that have overwritten others.
    """

    last: set[_Attempt]
    all: set[_Attempt]
    oldest: set[_Attempt]


def read_begun_calls(file: Path, topic: str) -> BegunCalls:
    """Return the calls of *topic* that the call file *file* has.

    Raises:
        OSError: it cannot be read.
    """
    data = file.read_bytes()
    begun = BegunCalls(set(), set(), set())
    short = _short(topic)
    for at in range(0, len(data) - _RING_BYTES + 1, _RING_BYTES):
        records = [
            (count, end, (task_id, attempt))
            for valid, end, task_id, attempt, count in _RECORD.iter_unpack(
                data[at : at + _RING_BYTES]
            )
            if valid
        ]
        if not records:
            continue
        begun.all.update(one for _, end, one in records if end == short)
        _, end, one = max(records)
        if end == short:
            begun.last.add(one)
        count, end, one = min(records)
        if count > 1 and end == short:
            begun.oldest.add(one)
    return begun


def read_call_file(folder: str, topic: str) -> set[_Attempt] | None:
    """Return ``(task id, attempt)`` of each call of *topic* that ran in the worker at its end.

    None means that there is no call file.
    """
    try:
        return read_begun_calls(_path(folder), topic).last
    except OSError:
        return None


def call_files_below(folder: str) -> list[Path]:
    """Return the call files of all workers whose own folders are below *folder*."""
    return [*Path(folder).rglob(f"*{_SUFFIX}")]


def remove_call_file(folder: str) -> None:
    """Remove the call file of a worker that is gone."""
    _path(folder).unlink(missing_ok=True)


def _path(folder: str) -> Path:
    return Path(f"{folder}{_SUFFIX}")


def _short(topic: str) -> bytes:
    return topic[-8:].encode()
