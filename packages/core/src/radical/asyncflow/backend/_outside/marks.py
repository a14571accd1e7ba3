"""Marks of the tasks that have begun in a process, in memory that outlives it."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable

__all__ = ["MARKS", "Marks", "make_file"]

MARKS = 1 << 16
"""The number of marks that there is room for; the sender waits before it overwrites one that the
program has not been told of."""

_WORD = 8


class Marks:
    """A ring of the ids of tasks that have begun, with the number of all that were written.

    The process writes an id before it tells the program, and what it has written is there even
    if it is killed before it has told.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _WORD * (1 + MARKS))
        self._words = memoryview(self._memory).cast("q")

    @property
    def count(self) -> int:
        """The number of marks that were ever written."""
        return self._words[0]

    def add(self, task_ids: Iterable[int]) -> None:
        """Write a mark for each of *task_ids*."""
        words = self._words
        count = words[0]
        for task_id in task_ids:
            words[1 + count % MARKS] = task_id
            count += 1
            words[0] = count

    def since(self, count: int) -> set[int]:
        """Return the ids of the marks behind the first *count*."""
        words = self._words
        first = max(count, words[0] - MARKS)
        return {words[1 + at % MARKS] for at in range(first, words[0])}

    def close(self) -> None:
        """Give the memory back."""
        self._words.release()
        self._memory.close()


def make_file() -> int:
    """Return the descriptor of a file without a name that has room for the marks."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("asyncflow-marks")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _WORD * (1 + MARKS))
    return descriptor
