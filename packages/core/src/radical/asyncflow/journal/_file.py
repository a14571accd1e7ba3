"""The file of a journal: opened only if it can be trusted, and locked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import JournalError
from ._lock import JournalLock

__all__ = ["open_for_writing", "system_message"]


def open_for_writing(path: str, lock: JournalLock) -> int:
    """Open and lock *path*, make it if it is missing, and return its descriptor.

    Raises:
        JournalInUseError: another run writes it.
        JournalError: it is no file, or other users could have written it.
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
            if _is_unchanged(path, status):
                return descriptor
            lock.release()
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # a repair replaced the file while we waited for the lock


def system_message(error: OSError) -> str:
    """Return what the system says of *error*, without its number and the path."""
    return error.strerror or str(error)


def _check(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise JournalError(f"journal {path} is not a file")
    if status.st_uid != os.geteuid():
        raise JournalError(
            f"journal {path} belongs to another user (uid {status.st_uid}), so its content "
            "cannot be trusted: use a journal of your own, or a copy of this one"
        )
    if status.st_mode & 0o022:
        raise JournalError(
            f"journal {path} can be written by other users, so its content cannot be trusted: "
            f"if it is as you left it, run chmod go-w {path}"
        )


def _is_unchanged(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), status)  # noqa: PTH116 - samestat needs it
    except FileNotFoundError:
        return False
