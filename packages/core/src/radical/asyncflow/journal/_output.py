"""A file beside the journal that has what running commands have written so far.

It is there only while commands run for long.  The program replaces it as a whole, at most once in
a second, so it stays small; after a kill the last one remains, and names its run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .._text import count
from ..model import Written
from ._records import TaskRecord

__all__ = ["RunOutput", "Tail", "read_output", "remove_output", "tails", "write_output"]

VERSION = 1

MOST_BYTES = 1 << 20
"""The most that the file has."""

MOST_READ = 16 * MOST_BYTES
"""The most that is read of it, because a text may grow on its way into JSON."""

MOST_TAIL = 4000
"""The bytes of a file of output that are shown."""

LEAST_TAIL = 200
"""The same of each of many files."""


class RunOutput(NamedTuple):
    """The output of commands of a run that ran at the time *wall*, in seconds since the epoch.

    Attributes:
        tasks: for each task, by number, the attempt and what that has written.
    """

    run: str
    wall: float
    tasks: Mapping[int, tuple[int, Written]]

    def of(self, task: TaskRecord) -> Written | None:
        """Return what *task* has written so far, if it runs and if that is known."""
        attempt, written = self.tasks.get(task.number, (0, None))
        runs = task.state == "RUNNING" or task.is_serving
        return written if runs and attempt == task.attempt else None


class Tail(NamedTuple):
    """The end of a stream of a command that is not in the journal itself.

    Attributes:
        about: what to know of it, in words.
    """

    stream: str
    text: str
    about: str


def tails(task: TaskRecord, run: str, journal: str) -> list[Tail]:
    """Return the ends of stdout and stderr of *task*, as far as they are known beside the journal.

    That is what a command that runs has written so far, or had written when its program died; and
    what the files have of one that ended, if its output went to files.
    """
    if task.state == "RUNNING" or task.is_serving:
        output = read_output(journal, run)
        written = None if output is None else output.of(task)
        return [] if written is None else list(_tails(written, "so far"))
    if task.paths is None:
        return []
    stdout, stderr = task.paths
    return list(_tails(Written((stdout,) if stdout else "", (stderr,) if stderr else ""), ""))


def _tails(written: Written, when: str) -> Iterator[Tail]:
    for stream, given, before in zip(
        ("stdout", "stderr"), (written.stdout, written.stderr), written.before, strict=True
    ):
        if isinstance(given, str):
            if given:
                yield Tail(stream, given, f"{when}{_before(before)}")
            continue
        share = max(MOST_TAIL // max(len(given), 1), LEAST_TAIL)
        for rank, path in enumerate(given[: MOST_TAIL // LEAST_TAIL]):
            text, before, problem = _end_of(path, share)
            of_rank = f"of rank {rank} " if len(given) > 1 else ""
            if text or problem:
                about = f"{of_rank}{when}, in {path}".removeprefix(", ")
                yield Tail(stream, text, f"{about}{_before(before)}{problem}")


def _before(size: int) -> str:
    return f"; {count(size, 'byte')} before it" if size else ""


def _end_of(path: str, most: int) -> tuple[str, int, str]:
    """Return the end of a file, how many bytes come before it, and why it cannot be read."""
    try:
        with Path(path).open("rb") as stream:
            before = max(stream.seek(0, os.SEEK_END) - most, 0)
            stream.seek(before)
            return stream.read(most).decode("utf-8", "replace"), before, ""
    except OSError as error:
        return "", 0, f", which cannot be read here: {error.strerror}"


def write_output(journal: str, output: RunOutput) -> None:
    """Replace the file beside *journal*.

    Raises:
        OSError: it cannot be written.
    """
    fields: dict[str, Any] = {
        "version": VERSION,
        "run": output.run,
        "wall": output.wall,
        "tasks": {number: (attempt, *each) for number, (attempt, each) in output.tasks.items()},
    }
    path = _place(journal)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(fields), encoding="ascii")
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def remove_output(journal: str) -> None:
    """Remove the file beside *journal*, if there is one."""
    _place(journal).unlink(missing_ok=True)


def read_output(journal: str, run: str) -> RunOutput | None:
    """Return what the *run* said last; None if no command runs for long, or another run did."""
    try:
        with _place(journal).open("rb") as stream:
            fields = json.loads(stream.read(MOST_READ))
        if fields["version"] != VERSION or fields["run"] != run:
            return None
        tasks = {int(number): _task(*given) for number, given in fields["tasks"].items()}
        return RunOutput(run, float(fields["wall"]), tasks)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # it is not there, or no file of ours


def _task(attempt: Any, stdout: Any, stderr: Any, before: Any) -> tuple[int, Written]:
    first, second = before
    return int(attempt), Written(_stream(stdout), _stream(stderr), (int(first), int(second)))


def _stream(given: Any) -> str | tuple[str, ...]:
    return given if isinstance(given, str) else tuple(map(str, given))


def _place(journal: str) -> Path:
    return Path(f"{os.path.realpath(journal)}.output")
