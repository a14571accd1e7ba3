"""The folders through which the program and its workers exchange functions and results."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

from radical.asyncflow.worker import read_clock

__all__ = ["Answer", "Exchange"]


class Answer(NamedTuple):
    """The answer of a function, as its worker writes it.

    Attributes:
        code, body: as `answer_pickled` makes them.
        worker: the name of the worker.
        clock: the clock of the worker, as `read_clock` names it.
        begun, ended: when the function did, by that clock.
        sent: when the answer was written, by that clock.
        trace: what the function left behind, as `Tracer.end` returns it.
    """

    code: int
    body: bytes | memoryview
    worker: str
    clock: str
    begun: float
    ended: float
    sent: float
    trace: bytes | memoryview = b""

    @classmethod
    def make(cls, code: int, body: bytes, worker: str, begun: float) -> Answer:
        """Return the answer of a function that *worker* began at *begun*, and ended just now."""
        clock, now = read_clock()
        return cls(code, body, worker, clock, begun, now, now)

    def dump(self) -> bytes:
        """Return it as bytes, that begin with a line of text."""
        about = self._replace(body=b"", sent=time.monotonic())
        head = json.dumps([about.code, *about[2:7], len(self.trace)])
        return b"".join((head.encode("ascii"), b"\n", self.trace, self.body))

    @classmethod
    def load(cls, data: bytes) -> Answer:
        """Return what `dump` made *data* of."""
        end = data.index(b"\n")
        code, *about, length = json.loads(data[:end])
        trace, body = (view := memoryview(data)[end + 1 :])[:length], view[length:]
        return cls(code, body, *about)._replace(trace=trace)


class Exchange:
    """The folders of one exchange, on a file system that the program and all nodes see.

    Whoever renames ``ready/N`` owns task N: a worker renames it to ``claimed/N@WORKER``,
    and the program, to take the task back, to ``staging/N``.  So a task runs at most once,
    the program sees which worker died with which task, and nobody needs a connection.

    Attributes:
        staging: where the program writes a task before workers may see it.
        ready, claimed, results: one file for each task in that state.
        cores_wanted: a file that exists while other tasks want the cores of idle workers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.staging = folder / "staging"
        self.ready = folder / "ready"
        self.claimed = folder / "claimed"
        self.results = folder / "results"
        self.cores_wanted = folder / "cores_wanted"

    def create(self) -> None:
        """Make the folders, for this user alone."""
        for folder in (self.staging, self.ready, self.claimed, self.results):
            folder.mkdir(parents=True, mode=0o700)

    def claim(self, number: str, worker: str) -> Path:
        """Return the file that task *number* is while *worker* runs it."""
        return self.claimed / f"{number}@{worker}"

    def claims(self) -> list[tuple[str, str, Path]]:
        """Return number, worker and file of each task that a worker has taken."""
        found = []
        for file in self.claimed.iterdir():
            number, _, worker = file.name.partition("@")
            found.append((number, worker, file))
        return found
