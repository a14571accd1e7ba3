"""A record of the calls that run in a worker, which the worker's death does not erase.

The call file is a small file beside the worker's own folder, which its nanny removes.  It
is mapped into the worker's memory: each call costs a store of 21 bytes and no system
call.  After the worker was killed, any process on the same machine can read of which
calls it died.
"""

from __future__ import annotations

import itertools
import mmap
import struct
import threading
from pathlib import Path

__all__ = ["CallFile", "read_call_file", "remove_call_file"]

_RECORD = struct.Struct("<8sQI")  # the end of the topic, task id, attempt
_LINE_BYTES = 32  # one line for each thread: whether it holds a record, and the record
_MAX_THREADS = 256


class _Thread(threading.local):
    offset: int | None = None


class CallFile:
    """The call file of this process; each thread has a line of its own."""

    def __init__(self, folder: str) -> None:
        with _path(folder).open("w+b") as file:
            file.truncate(_MAX_THREADS * _LINE_BYTES)
            self._map = mmap.mmap(file.fileno(), _MAX_THREADS * _LINE_BYTES)
        self._thread = _Thread()
        self._lines = itertools.count()

    def begin(self, topic: str, task_id: int, attempt: int) -> bool:
        """Write that this thread begins a call; return False if no line is left for it.

        The record stays until the next call.  If a call has ended, but the worker died
        before it could say so, that call must not run again either.
        """
        offset = self._thread.offset
        if offset is None:
            offset = self._thread.offset = next(self._lines) * _LINE_BYTES
        if offset >= len(self._map):
            return False
        self._map[offset] = 0  # a half-written line does not count
        record = _RECORD.pack(_short(topic), task_id, attempt)
        self._map[offset + 1 : offset + 1 + len(record)] = record
        self._map[offset] = 1
        return True


def read_call_file(folder: str, topic: str) -> set[tuple[int, int]] | None:
    """Return ``(task id, attempt)`` of each call of *topic* that ran in the worker.

    None means that there is no call file.
    """
    try:
        data = _path(folder).read_bytes()
    except OSError:
        return None
    lines = [data[at : at + _LINE_BYTES] for at in range(0, len(data), _LINE_BYTES)]
    records = [_RECORD.unpack_from(line, 1) for line in lines if line[0]]
    return {(task_id, attempt) for end, task_id, attempt in records if end == _short(topic)}


def remove_call_file(folder: str) -> None:
    """Remove the call file of a worker that is gone."""
    _path(folder).unlink(missing_ok=True)


def _path(folder: str) -> Path:
    return Path(f"{folder}.calls")


def _short(topic: str) -> bytes:
    return topic[-8:].encode()
