"""The repair of a damaged journal; the damaged file is kept."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import NamedTuple

from .._public import public
from ..errors import JournalError
from ._file import open_for_writing, system_message
from ._format import HEADER
from ._lock import JournalLock
from ._reader import Damage, records

__all__ = ["Repair", "repair"]


@public("radical.asyncflow.journal")
class Repair(NamedTuple):
    """The outcome of a repair.

    Attributes:
        kept: the new name of the damaged journal; None if there was nothing to repair.
        damage: the lines that were left out.
    """

    kept: Path | None
    damage: tuple[Damage, ...]


@public("radical.asyncflow.journal")
def repair(path: str | os.PathLike[str]) -> Repair:
    """Replace the journal *path* by one that holds all of its intact lines.

    The damaged file stays beside it, under the name that is returned.  A journal that is
    not damaged stays as it is.

    Raises:
        JournalInUseError: a run writes the journal.
        JournalFormatError: the file is no journal, or one of another version.
        JournalError: the journal cannot be read or replaced, and was not changed.
    """
    path = os.path.realpath(path)
    if not Path(path).exists():
        raise JournalError(f"there is no journal {path}")
    lock = JournalLock(path, "repair")
    try:
        descriptor = open_for_writing(path, lock)
        try:
            return _repair(path)
        finally:
            lock.release()
            os.close(descriptor)
    except OSError as error:
        raise JournalError(f"journal {path} cannot be repaired: {system_message(error)}") from error


def _repair(path: str) -> Repair:
    part = Path(f"{path}.part")
    damage: list[Damage] = []
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        with Path(path).open("rb") as old, part.open("wb") as new:
            new.writelines(records(path, old, [], damage))
            if not damage:
                return Repair(None, ())
            if new.tell() <= len(HEADER):
                raise JournalError(f"journal {path} holds no intact line: remove it")
            new.flush()
            os.fsync(new.fileno())
        kept = _keep(path)
        part.replace(path)
        return Repair(kept, tuple(damage))
    finally:
        part.unlink(missing_ok=True)


def _keep(path: str) -> Path:
    """Give the damaged file a second name, and return it."""
    names = (Path(f"{path}.damaged-{number}") for number in itertools.count(1))
    name = next(name for name in names if not name.exists())
    try:
        os.link(path, name)
    except OSError:  # no hard links here: for a moment the journal has only the new name
        Path(path).rename(name)
    return name
