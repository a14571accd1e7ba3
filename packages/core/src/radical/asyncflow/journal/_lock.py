"""One writer at a time: a lock on the journal, and a file beside it that names the holder.

The lock is flock, which ends with the process.  Some network file systems lack flock, or
have it within one host only.  So the file ``PATH.lock`` names the holder, who touches it
every second as a sign of life.  Where flock does not work at all, this file alone
is the lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from ..errors import JournalError, JournalInUseError
from ._process import Process

__all__ = ["HEARTBEAT_S", "Holder", "JournalLock", "holder_of"]

HEARTBEAT_S = 1.0
"""Seconds between two signs of life of a holder."""

HEARTBEAT_WAIT_S = 15.0
"""Seconds to wait for a sign of life before a holder counts as dead."""

HEARTBEAT_STALE_S = 60.0
"""Seconds since the last sign of life after which nobody waits for another one."""

POLLS = 60
"""How often the lock file is looked at during that wait."""

_NO_FLOCK = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


class Holder(NamedTuple):
    """The holder of a lock.

    Attributes:
        run: the uid of its run; "" while its file is half written.
        seen: its last sign of life, in seconds since the epoch by the clock of the file system.
    """

    run: str = ""
    process: Process = Process()
    seen: float = 0.0

    def __str__(self) -> str:
        if not self.process.pid:
            return "another process"
        return f"run {self.run} (process {self.process.pid} on host {self.process.host})"


def holder_of(path: str) -> Holder | None:
    """Return who holds or held the journal *path*, as the file beside it says; None without one."""
    file = Path(f"{path}.lock")
    try:
        text = file.read_text(encoding="utf-8")
        seen = file.stat().st_mtime
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(text)
        return Holder(str(fields["run"]), Process.parse(fields), seen)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Holder(seen=seen)  # half written


class JournalLock:
    """The right to write one journal, held until `release` or the end of the process.

    Attributes:
        previous: once it is acquired, the holder that died without giving it up, if there was one.
    """

    def __init__(self, path: str, run: str) -> None:
        self.previous: Holder | None = None
        self._path = path
        self._file = Path(f"{path}.lock")
        self._run = run
        self._process = Process.own()
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
                holder = holder_of(self._path)
                if holder and self._is_elsewhere(holder.process) and self._shows_life():
                    raise self._refusal(holder)
                self.previous = holder
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
        if self._held is None or os.getpid() != self._process.pid:
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
            raise self._refusal(holder_of(self._path) or Holder()) from None
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
                holder = holder_of(self._path) or Holder()
            except FileNotFoundError:
                continue
            if self._is_alive(holder.process):
                raise self._refusal(holder)
            self._discard(seen)
            self.previous = holder

    def _is_elsewhere(self, process: Process) -> bool:
        return process.host not in ("", self._process.host)

    def _is_alive(self, process: Process) -> bool:
        runs, _ = process.runs()
        return self._shows_life() if runs is None else runs

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

    def _write(self, mode: int) -> None:
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | mode, 0o600)
        try:
            os.write(descriptor, json.dumps({"run": self._run, **self._process._asdict()}).encode())
        except BaseException:
            self._file.unlink()
            raise
        finally:
            os.close(descriptor)

    def _refusal(self, holder: Holder) -> JournalInUseError:
        return JournalInUseError(
            f"journal {self._path} is in use by {holder}: give this run a journal of its own"
        )
