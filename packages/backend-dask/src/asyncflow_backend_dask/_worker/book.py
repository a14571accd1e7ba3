"""Which calls run in a worker, written where its death does not blot it out.

The book is a small file beside the worker's own folder (which its nanny removes),
mapped into its memory: a store of 21 bytes for each call, and no system call.  Whoever
is on the same machine can read there, after the worker was killed, of which calls it died.
"""

from __future__ import annotations

import itertools
import mmap
import struct
import threading
from pathlib import Path

__all__ = ["Book", "forget_book", "read_book"]

_ENTRY = struct.Struct("<8sQI")  # the end of the topic, task, attempt
_WIDTH = 32  # bytes for one thread: whether there is an entry, and that
_THREADS = 256


class _Thread(threading.local):
    place: int | None = None


class Book:
    """The book of this process; each thread has a line of its own."""

    def __init__(self, folder: str) -> None:
        with _path(folder).open("w+b") as file:
            file.truncate(_THREADS * _WIDTH)
            self._map = mmap.mmap(file.fileno(), _THREADS * _WIDTH)
        self._thread = _Thread()
        self._places = itertools.count()

    def begin(self, topic: str, task_id: int, attempt: int) -> bool:
        """This thread begins a call; false if there is no line left for it.

        It stays there until the next: one that has ended, but whose end was not told
        before the death, must not run again either.
        """
        place = self._thread.place
        if place is None:
            place = self._thread.place = next(self._places) * _WIDTH
        if place >= len(self._map):
            return False
        self._map[place] = 0  # a line that is half written does not count
        entry = _ENTRY.pack(_short(topic), task_id, attempt)
        self._map[place + 1 : place + 1 + len(entry)] = entry
        self._map[place] = 1
        return True


def read_book(folder: str, topic: str) -> set[tuple[int, int]] | None:
    """Task and attempt of each call of *topic* that ran there; None if there is no book."""
    try:
        data = _path(folder).read_bytes()
    except OSError:
        return None
    lines = [data[at : at + _WIDTH] for at in range(0, len(data), _WIDTH)]
    entries = [_ENTRY.unpack_from(line, 1) for line in lines if line[0]]
    return {(task, attempt) for whose, task, attempt in entries if whose == _short(topic)}


def forget_book(folder: str) -> None:
    """Nobody will read it any more."""
    _path(folder).unlink(missing_ok=True)


def _path(folder: str) -> Path:
    return Path(f"{folder}.calls")


def _short(topic: str) -> bytes:
    return topic[-8:].encode()
