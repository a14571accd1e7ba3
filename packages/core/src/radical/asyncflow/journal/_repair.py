"""Makes a good journal of a damaged one, and keeps the damaged one."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import NamedTuple

from .._public import public
from ..errors import JournalError
from ._file import open_for_writing, reason
from ._format import HEADER
from ._lock import JournalLock
from ._reader import Damage, records

__all__ = ["Repair", "repair"]


@public("radical.asyncflow.journal")
class Repair(NamedTuple):
    """What a repair did.

    Attributes:
        kept: where the damaged journal is now; None if there was nothing to repair.
        damage: what was left out.
    """

    kept: Path | None
    damage: tuple[Damage, ...]


@public("radical.asyncflow.journal")
def repair(path: str | os.PathLike[str]) -> Repair:
    """Put a journal of all that is good in *path* in its place.

    The damaged one stays beside it, under the name that is returned.  A journal that is
    not damaged stays as it is.

    Raises:
        JournalInUseError: a run writes it.
        JournalFormatError: the file is no journal, or one of another version.
        JournalError: it cannot be read or replaced; nothing was changed.
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
        raise JournalError(f"journal {path} cannot be repaired: {reason(error)}") from error


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
                raise JournalError(f"journal {path} holds nothing that is good; remove it")
            new.flush()
            os.fsync(new.fileno())
        kept = _keep(path)
        part.replace(path)
        Path(f"{path}.index").unlink(missing_ok=True)
        return Repair(kept, tuple(damage))
    finally:
        part.unlink(missing_ok=True)


def _keep(path: str) -> Path:
    """Give the file a second name."""
    names = (Path(f"{path}.damaged-{number}") for number in itertools.count(1))
    name = next(name for name in names if not name.exists())
    try:
        os.link(path, name)
    except OSError:  # no second names here: for a moment there is only the new one
        Path(path).rename(name)
    return name
