"""The notes of a shell about what its command used, and when it ran."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from radical.asyncflow.backend import TaskUsage

__all__ = ["Use", "read_use"]

_TIME = re.compile(r"(\d+)m(\d+)[.,](\d+)s")


class Use(NamedTuple):
    """The use of a command on all of its ranks together.

    Attributes:
        usage: the processes for which their shells waited; a shell cannot tell the memory.
        began, ended: the times of the first begin and of the last end, by the clock of the
            machine, in seconds since the epoch; None where a shell does not know it.
    """

    usage: TaskUsage
    began: float | None
    ended: float | None


class _Note(NamedTuple):
    time: float | None
    cpu: float
    read: int | None
    written: int | None


def read_use(files: Sequence[Path]) -> Use | None:
    """Return what the ranks noted in *files*; None unless all of them did, before and after."""
    pairs = []
    for file in files:
        try:
            text = file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return None
        notes = text.split("end\n")
        if len(notes) != 3:
            return None  # its shell was killed
        first, last = _note(notes[0]), _note(notes[1])
        if first is None or last is None:
            return None
        pairs.append((first, last))
    began = [first.time for first, _ in pairs if first.time is not None]
    ended = [last.time for _, last in pairs if last.time is not None]
    usage = TaskUsage(
        sum(last.cpu - first.cpu for first, last in pairs),
        None,
        _difference([(first.read, last.read) for first, last in pairs]),
        _difference([(first.written, last.written) for first, last in pairs]),
    )
    return Use(
        usage,
        min(began) if len(began) == len(pairs) else None,
        max(ended) if len(ended) == len(pairs) else None,
    )


def _note(text: str) -> _Note | None:
    """Return what a shell printed; None if it is not what our function prints."""
    lines = text.splitlines()
    if len(lines) < 3 or not lines[0].startswith("time "):
        return None
    clock = lines[0].removeprefix("time ").replace(",", ".")
    parts = _TIME.findall(f"{lines[1]} {lines[2]}")
    if len(parts) != 4:
        return None
    cpu = sum(60 * int(minutes) + float(f"{whole}.{part}") for minutes, whole, part in parts)
    counted = dict(line.split(": ", 1) for line in lines[3:] if ": " in line)
    return _Note(
        None if clock == "-" else float(clock),
        cpu,
        int(counted["rchar"]) if "rchar" in counted else None,
        int(counted["wchar"]) if "wchar" in counted else None,
    )


def _difference(pairs: Sequence[tuple[int | None, int | None]]) -> int | None:
    """Return by how much the seconds of *pairs* exceed the firsts, all together."""
    total = 0
    for first, last in pairs:
        if first is None or last is None:
            return None
        total += last - first
    return total
