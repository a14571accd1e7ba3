"""One writer at a time: a lock on the journal, and a file beside it that names the holder.

The lock is flock, which ends with the process.  Some network file systems lack flock, or
have it within one host only.  So the file ``PATH.lock`` names the holder, who touches it
every few seconds as a sign of life.  Where flock does not work at all, this file alone
is the lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import NamedTuple

from ..errors import JournalError, JournalInUseError

__all__ = ["HEARTBEAT_S", "JournalLock"]

HEARTBEAT_S = 5.0
"""Seconds between two signs of life of a holder."""

HEARTBEAT_WAIT_S = 3 * HEARTBEAT_S
"""Seconds to wait for a sign of life before a holder counts as dead."""

HEARTBEAT_STALE_S = 60.0
"""Seconds since the last sign of life after which nobody waits for another one."""

POLLS = 60
"""How often the lock file is looked at during that wait."""

_NO_FLOCK = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


class _Holder(NamedTuple):
    """The holder of a lock; *born* tells its process from a later one with the same number."""

    run: str = ""
    pid: int = 0
    host: str = ""
    born: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        return f"run {self.run} (process {self.pid} on host {self.host})"


class JournalLock:
    """The right to write one journal, held until `release` or the end of the process."""

    def __init__(self, path: str, run: str) -> None:
        self._path = path
        self._file = Path(f"{path}.lock")
        self._own = _Holder(run, os.getpid(), socket.gethostname(), _born(os.getpid()))
        self._held: int | None = None

    def acquire(self, descriptor: int) -> None:
        """Lock the journal that is open for writing as *descriptor*.

        This blocks for some seconds if a holder on another host may have died just now.

        Raises:
            JournalInUseError: another run writes the journal; the message says which.
            JournalError: the journal cannot be locked.
        """
        try:
            if self._flock(descriptor):
                holder = self._holder()
                if holder and holder.host not in ("", self._own.host) and self._shows_life():
                    raise self._refusal(holder)
                self._write(os.O_TRUNC)
            else:
                self._create()
        except OSError as error:
            raise JournalError(
                f"journal {self._path} cannot be locked: {error.strerror or error}"
            ) from error
        self._held = descriptor

    def show_life(self) -> None:
        """Give a sign of life; any thread may do so, every `HEARTBEAT_S` seconds."""
        with contextlib.suppress(OSError):  # whoever removed the file declared the lock void
            os.utime(self._file)

    def release(self) -> None:
        """Give the lock up, before the journal is closed; in a fork of the holder do nothing."""
        if self._held is None or os.getpid() != self._own.pid:
            return
        self._file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # where there is no flock
            # Closing would not do: a fork that was made just now still has the descriptor.
            fcntl.flock(self._held, fcntl.LOCK_UN)
        self._held = None

    def _flock(self, descriptor: int) -> bool:
        """Lock with flock, and tell whether that works here."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._refusal(self._holder() or _Holder()) from None
        except OSError as error:
            if error.errno in _NO_FLOCK:
                return False
            raise
        return True

    def _create(self) -> None:
        """Make the lock file, which must not exist yet; remove that of a dead holder."""
        while True:
            try:
                return self._write(os.O_EXCL)
            except FileExistsError:
                pass
            try:
                seen = self._file.stat()
                holder = self._holder() or _Holder()
            except FileNotFoundError:
                continue
            if self._is_alive(holder):
                raise self._refusal(holder)
            self._discard(seen)

    def _is_alive(self, holder: _Holder) -> bool:
        if holder.host != self._own.host:
            return self._shows_life()
        try:
            os.kill(holder.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return _born(holder.pid) == holder.born

    def _discard(self, seen: os.stat_result) -> None:
        """Remove the lock file that was *seen*, but not one that was made in the meantime."""
        aside = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            self._file.rename(aside)
        except FileNotFoundError:
            return
        if aside.stat().st_ino != seen.st_ino:
            with contextlib.suppress(FileExistsError):
                os.link(aside, self._file)
        aside.unlink()

    def _shows_life(self) -> bool:
        """Tell whether the holder is alive, by the clock of the file system instead of ours."""
        probe = self._file.with_name(f"{self._file.name}.{os.getpid()}.now")
        try:
            first = self._file.stat().st_mtime_ns
            probe.touch(mode=0o600)
            now = probe.stat().st_mtime_ns
            probe.unlink()
            if now - first > HEARTBEAT_STALE_S * 1e9:
                return False
            deadline = time.monotonic() + HEARTBEAT_WAIT_S
            while time.monotonic() < deadline:
                if self._file.stat().st_mtime_ns != first:
                    return True
                time.sleep(HEARTBEAT_WAIT_S / POLLS)
        except FileNotFoundError:  # released
            pass
        return False

    def _holder(self) -> _Holder | None:
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            fields = json.loads(text)
            return _Holder(
                str(fields["run"]), int(fields["pid"]), str(fields["host"]), str(fields["born"])
            )
        except (ValueError, KeyError, TypeError):
            return _Holder()  # half written

    def _write(self, mode: int) -> None:
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | mode, 0o600)
        try:
            os.write(descriptor, json.dumps(self._own._asdict()).encode())
        except BaseException:
            self._file.unlink()
            raise
        finally:
            os.close(descriptor)

    def _refusal(self, holder: _Holder) -> JournalInUseError:
        return JournalInUseError(
            f"journal {self._path} is in use by {holder}: give this run a journal of its own"
        )


def _born(pid: int) -> str:
    """Return when the process *pid* began, as its kernel counts; "" if that is unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    # The name of the program, in parentheses, may hold anything; the time comes 19 fields
    # after it.
    return stat.rpartition(b")")[2].split()[19].decode()
