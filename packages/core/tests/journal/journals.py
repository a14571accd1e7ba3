"""Small journals, and how to wait until something is in the file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from radical.asyncflow.errors import JournalError
from radical.asyncflow.journal import FunctionRecord, Journal
from radical.asyncflow.journal._format import function_used, run_begun, task_ended
from radical.asyncflow.journal._writer import JournalWriter, Record

FUNCTION = FunctionRecord(1, "work", "function", "abc123")
SOON = 30.0


class Watched(JournalWriter):
    """A writer that remembers what it called back."""

    def __init__(self, journal: Journal, *, run: str) -> None:
        super().__init__(journal, run=run)
        self.written = 0
        self.failures: list[JournalError] = []
        self.news = threading.Condition()
        self.on_written = self._see_written
        self.on_failed = self._see_failed

    def _see_written(self, number: int) -> None:
        with self.news:
            self.written = number
            self.news.notify_all()

    def _see_failed(self, error: JournalError) -> None:
        with self.news:
            self.failures.append(error)
            self.news.notify_all()

    def commit(self, records: Sequence[Record]) -> None:
        """Append, and wait until it is written."""
        number = self.append(records)
        with self.news:
            assert self.news.wait_for(lambda: self.written >= number, SOON)

    def wait_for_failure(self) -> JournalError:
        with self.news:
            assert self.news.wait_for(lambda: self.failures, SOON)
        return self.failures[0]


@contextmanager
def writing(path: Path, run: str = "run.1", **options: Any) -> Iterator[Watched]:
    writer = Watched(Journal(path, **options), run=run)
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
    """The line of a task that is done."""
    times = (number + 0.1, number + 0.2, number + 0.3, number + 0.4)
    return task_ended(number, 1, "DONE", times, key=key or key_of(number), result=result)


def make(path: Path, tasks: int = 5, run: str = "run.1", **options: Any) -> Path:
    """A run of *tasks* in the journal *path*, whose results are their numbers."""
    with writing(path, run, **options) as writer:
        writer.append(begin(run))
        writer.append([done(number, writer.store(number)) for number in range(1, tasks + 1)])
    return path


def everything(tasks: int) -> dict[int, int]:
    """What `recalled` finds after `make` with so many tasks."""
    return {number: number for number in range(1, tasks + 1)}


def recalled(path: Path, tasks: int = 5) -> dict[int, Any]:
    """The results that a next run finds, by number."""
    found = {}
    with writing(path, "later") as writer:
        for number in range(1, tasks + 1):
            result = writer.recall(key_of(number))
            if result is not None:
                found[number] = result.load()
    return found


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)
