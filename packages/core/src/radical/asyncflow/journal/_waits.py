"""A file beside the journal that says what its run waits for, as only the program knows it.

It is there only while something waits for long.  The program replaces it as a whole, at most
every few seconds, so it stays small; after a kill the last one remains, and names its run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["RunWaits", "TaskGroup", "ranges_of", "read_waits", "remove_waits", "write_waits"]

VERSION = 1
MOST_RANGES = 64
"""The most ranges of task numbers that a group lists; of the rest it only has the number."""

MOST_BYTES = 1 << 20
"""The most that is read of the file, which is a hundredth of that."""


class TaskGroup(NamedTuple):
    """Tasks that wait for the same.

    Attributes:
        kind: the `WaitKind`, as text.
        text, holders, held_by, seconds: as in `radical.asyncflow.backend.Wait`.
        backend: the backend that has them; "" if none has.
        tasks: the first and the last number of ranges of them.
        number: how many there are.
        complete: whether *tasks* has all of them.
    """

    kind: str
    text: str
    backend: str
    tasks: Sequence[tuple[int, int]]
    number: int
    complete: bool = True
    holders: Sequence[int] = ()
    held_by: int = 0
    seconds: float | None = None

    def has(self, number: int) -> bool:
        """Tell whether the task with this *number* is among those that are listed."""
        return any(first <= number <= last for first, last in self.tasks)


class RunWaits(NamedTuple):
    """The reasons why tasks of a run waited at the time *wall*, in seconds since the epoch."""

    run: str
    wall: float
    groups: tuple[TaskGroup, ...]

    def of(self, number: int, backend: str) -> TaskGroup | None:
        """Return what the task with this *number* waits for; None if that is not certain.

        A task that no group lists waits for what all others wait for that its *backend* has.
        """
        for group in self.groups:
            if group.has(number):
                return group
        alike = [group for group in self.groups if backend and group.backend == backend]
        return alike[0] if len(alike) == 1 and not alike[0].complete else None


def ranges_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return *numbers* as the first and the last of each range, in order."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def write_waits(journal: str, waits: RunWaits) -> None:
    """Replace the file beside *journal*.

    Raises:
        OSError: it cannot be written.
    """
    fields: dict[str, Any] = {
        "version": VERSION,
        "run": waits.run,
        "wall": waits.wall,
        "groups": [
            group._replace(
                tasks=group.tasks[:MOST_RANGES],
                complete=group.complete and len(group.tasks) <= MOST_RANGES,
            )._asdict()
            for group in waits.groups
        ],
    }
    path = _place(journal)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(fields), encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def remove_waits(journal: str) -> None:
    """Remove the file beside *journal*, if there is one."""
    _place(journal).unlink(missing_ok=True)


def read_waits(journal: str, run: str) -> RunWaits | None:
    """Return what the *run* said last; None if nothing waits for long, or another run wrote it."""
    try:
        with _place(journal).open(encoding="utf-8", errors="replace") as stream:
            fields = json.loads(stream.read(MOST_BYTES))
        if fields["version"] != VERSION or fields["run"] != run:
            return None
        groups = tuple(map(_group, fields["groups"]))
        return RunWaits(run, float(fields["wall"]), groups)
    except (OSError, ValueError, LookupError, TypeError):
        return None  # it is not there, or no file of ours


def _group(fields: Mapping[str, Any]) -> TaskGroup:
    seconds = fields["seconds"]
    return TaskGroup(
        kind=str(fields["kind"]),
        text=str(fields["text"]),
        backend=str(fields["backend"]),
        tasks=[(int(first), int(last)) for first, last in fields["tasks"]],
        number=int(fields["number"]),
        complete=bool(fields["complete"]),
        holders=[int(number) for number in fields["holders"]],
        held_by=int(fields["held_by"]),
        seconds=None if seconds is None else float(seconds),
    )


def _place(journal: str) -> Path:
    return Path(f"{os.path.realpath(journal)}.waits")
