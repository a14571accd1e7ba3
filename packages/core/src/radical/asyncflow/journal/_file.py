"""Opening the file of a journal: only one that may be trusted, and locked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import JournalError
from ._lock import JournalLock

__all__ = ["open_for_writing", "reason"]


def open_for_writing(path: str, lock: JournalLock) -> int:
    """A descriptor for *path*, which is made if it is not there.

    Raises:
        JournalInUseError: another run writes it.
        JournalError: it is no file, or others could have written it.
        OSError: it cannot be opened.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            status = os.fstat(descriptor)
            _check(path, status)
            lock.acquire(descriptor)
            if _still(path, status):
                return descriptor
            lock.release()
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # replaced by a repair while we waited


def reason(error: OSError) -> str:
    """What the system says, without the number and the path."""
    return error.strerror or str(error)


def _check(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise JournalError(f"journal {path} is not a file")
    if status.st_uid != os.geteuid():
        raise JournalError(
            f"journal {path} belongs to another user (uid {status.st_uid}), so what it holds "
            "cannot be trusted: use a journal of your own, or a copy of this one"
        )
    if status.st_mode & 0o022:
        raise JournalError(
            f"journal {path} can be written by others, so what it holds cannot be trusted: "
            f"if it is as you left it, chmod go-w {path}"
        )


def _still(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), status)  # noqa: PTH116 - samestat needs it
    except FileNotFoundError:
        return False
