"""Small journals, and how to wait until something is in the file."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from radical.asyncflow.errors import JournalError
from radical.asyncflow.journal import FunctionRecord, Journal
from radical.asyncflow.journal._format import function_used, run_begun, task_ended
from radical.asyncflow.journal._writer import JournalWriter, Record

FUNCTION = FunctionRecord(1, "work", "function", "abc123")
LIMIT_S = 30.0


class RecordingWriter(JournalWriter):
    """A writer that remembers its callbacks."""

    def __init__(self, journal: Journal, *, run: str) -> None:
        super().__init__(journal, run=run)
        self.written = 0
        self.failures: list[JournalError] = []
        self.changed = threading.Condition()
        self.on_written = self._see_written
        self.on_failed = self._see_failed

    def _see_written(self, number: int) -> None:
        with self.changed:
            self.written = number
            self.changed.notify_all()

    def _see_failed(self, error: JournalError) -> None:
        with self.changed:
            self.failures.append(error)
            self.changed.notify_all()

    def commit(self, records: Sequence[Record]) -> None:
        """Append *records*, and wait until they are written."""
        number = self.append(records)
        with self.changed:
            assert self.changed.wait_for(lambda: self.written >= number, LIMIT_S)

    def wait_for_failure(self) -> JournalError:
        with self.changed:
            assert self.changed.wait_for(lambda: self.failures, LIMIT_S)
        return self.failures[0]


@contextmanager
def writing(path: Path, run: str = "run.1", **options: Any) -> Iterator[RecordingWriter]:
    writer = RecordingWriter(Journal(path, **options), run=run)
    writer.open()
    try:
        yield writer
    finally:
        writer.close()


def begin(run: str = "run.1", wall: float = 1.0) -> list[bytes]:
    return [run_begun(run, wall, "host", 1, "3.11", ["script.py"]), function_used(FUNCTION)]


def key_of(number: int) -> str:
    return blake2b(str(number).encode(), digest_size=16).hexdigest()


def done(number: int, result: str = '"value":null', key: str | None = None) -> bytes:
    """Make the line of a task that is done."""
    times = (number + 0.1, number + 0.2, number + 0.3, number + 0.4)
    return task_ended(number, 1, "DONE", times, key=key or key_of(number), result=result)


def make(path: Path, tasks: int = 5, run: str = "run.1", **options: Any) -> Path:
    """Write a run of *tasks* tasks, whose results are their numbers, into the journal *path*."""
    with writing(path, run, **options) as writer:
        writer.append(begin(run))
        writer.append([done(number, writer.store(number)) for number in range(1, tasks + 1)])
    return path


def everything(tasks: int) -> dict[int, int]:
    """Return what `recalled` finds after `make` with so many tasks."""
    return {number: number for number in range(1, tasks + 1)}


def recalled(path: Path, tasks: int = 5) -> dict[int, Any]:
    """Return the results that the next run finds, by number."""
    found = {}
    with writing(path, "later") as writer:
        for number in range(1, tasks + 1):
            result = writer.recall(key_of(number))
            if result is not None:
                found[number] = result.load()
    return found
