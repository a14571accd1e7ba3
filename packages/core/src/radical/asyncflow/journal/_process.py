"""The identity of a process, and whether it still runs: known for certain, or not known."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Process"]


class Process(NamedTuple):
    """A process, told from every other one, also from a later one with the same number.

    Every text is "" where the system does not say it.

    Attributes:
        born: when it began, as its kernel counts.
        boot: the start of the machine since which numbers of processes count.
        machine: a hash of the machine's own id, which outlives that start.
        space: the namespace that its number belongs to; a container has its own.
    """

    pid: int = 0
    host: str = ""
    born: str = ""
    boot: str = ""
    machine: str = ""
    space: str = ""

    @classmethod
    def own(cls) -> Process:
        """Return the process that asks."""
        pid = os.getpid()
        machine = _text("/etc/machine-id")
        return cls(
            pid,
            socket.gethostname(),
            _born(pid),
            _text("/proc/sys/kernel/random/boot_id"),
            hashlib.blake2b(machine.encode(), digest_size=6).hexdigest() if machine else "",
            _link("/proc/self/ns/pid"),
        )

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Process:
        """Return the process that *fields* describe; those that are missing are not known.

        Raises:
            ValueError, TypeError: the number of the process is none.
        """
        texts = [str(fields.get(name, "")) for name in cls._fields[1:]]
        return cls(int(fields.get("pid", 0)), *texts)

    def runs(self) -> tuple[bool | None, str]:
        """Tell whether it runs, and how that is known; None if that cannot be known from here."""
        if not self.pid:
            return None, "the journal does not say which process it was"
        own = Process.own()
        if self._counts_with(own):
            return self._runs_here()
        if self.boot and self.boot == own.boot:
            return None, f"process {self.pid} is or was in another container of this machine"
        if self.boot and self.machine and (self.machine, self.host) == (own.machine, own.host):
            return False, f"host {self.host} was started again since then"
        return None, f"process {self.pid} is or was on host {self.host}; ask there"

    def _counts_with(self, own: Process) -> bool:
        """Tell whether its number means to *own* what it meant to itself."""
        if self.boot and own.boot:
            return self.boot == own.boot and (not self.space or self.space == own.space)
        return self.host == own.host

    def _runs_here(self) -> tuple[bool | None, str]:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False, f"process {self.pid} is gone"
        except PermissionError:
            pass
        born = _born(self.pid)
        if born == ENDED:
            return False, f"process {self.pid} is gone"
        if not born or not self.born:
            return None, f"whether process {self.pid} of this host is that of the run is not known"
        if born != self.born:
            return False, f"process {self.pid} is gone; another one has its number now"
        return True, f"process {self.pid} runs"


ENDED = "ended"
"""What stands for the birth of a process that has ended and that its parent still has to see."""


def _born(pid: int) -> str:
    """Return when the process *pid* began, as its kernel counts; "" if that is unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "" if Path("/proc/self/stat").exists() else _born_by_ps(pid)
    # The name of the program, in parentheses, may hold anything; the state comes next, and the
    # time 19 fields after it.
    words = stat.rpartition(b")")[2].split()
    return ENDED if words[0] in (b"Z", b"X") else words[19].decode()


def _born_by_ps(pid: int) -> str:
    """Return the same where there is no /proc, as on macOS."""
    with suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        state, _, born = listed.stdout.strip().partition(" ")
        return ENDED if state.startswith("Z") else born.strip()
    return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
