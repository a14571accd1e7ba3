"""Tell why a process died, from what the system says about it.

A wait status says only which signal ended a process.  That it was killed for lack of memory
is in the counters of its control group, and in the kernel's log where this process may read
that.  All of this is looked up after a death; while nothing dies, it costs nothing.
"""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from pathlib import Path
from typing import NamedTuple

from .._public import public
from .._text import size_text
from ..errors import DeathReason
from ._limits import memory_groups, usable_memory
from ._meter import is_of_child

__all__ = ["Death", "expect_deaths", "explain_death"]

_CRASHES = frozenset(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS")
    if hasattr(signal, name)
)
_LIMITS = {
    getattr(signal, name): text
    for name, text in (
        ("SIGXCPU", "it used more processor time than its limit (ulimit -t) allows"),
        ("SIGXFSZ", "it wrote a file larger than its limit (ulimit -f) allows"),
    )
    if hasattr(signal, name)
}
_SHELL_BASE = 128  # a shell exits with this plus the number of the signal that ended its child
_NEAR = 0.9  # of the memory there is: whoever had so much and got SIGKILL was killed for it
_LOG_BYTES = 1 << 20
_READ_ALL = 3  # of klogctl
_RECENT_S = 120.0  # for the kernel's log, because process ids are used again


@public("radical.asyncflow.worker")
class Death(NamedTuple):
    """The reason for the death of a process, and what shows it.

    Attributes:
        reason: the kind of death.
        evidence: in words, what shows it; "" if the exit code says everything.
    """

    reason: DeathReason
    evidence: str = ""


class _Kills:
    """The counters of processes that the kernel killed for memory, in this process's groups."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._seen = self._read()

    def new(self) -> str:
        """Return where a counter rose since the last look, in words; "" if none did."""
        with self._lock:
            now = self._read()
            risen = [group for group, count in now.items() if count > self._seen.get(group, 0)]
            self._seen = now
        if not risen:
            return ""
        limit = size_text(usable_memory(self._root))
        return (
            f"the kernel killed a process of the control group {risen[0]} for memory, of which "
            f"there may be {limit}"
        )

    def _read(self) -> dict[Path, int]:
        counts = {}
        for group in memory_groups(self._root):
            for name in ("memory.events", "memory.oom_control"):
                count = _oom_kills(group / name)
                if count is not None:
                    counts[group] = count
                    break
        return counts


def _oom_kills(file: Path) -> int | None:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.isdigit():
            return int(count)
    return None


_kills: _Kills | None = None


@public("radical.asyncflow.worker")
def expect_deaths() -> None:
    """Note how many processes were killed for memory so far; later ones then count as news."""
    global _kills
    if _kills is None:
        _kills = _Kills(Path("/"))


@public("radical.asyncflow.worker")
def explain_death(pid: int | None, exit_code: int | None, *, peak: int = 0) -> Death:
    """Say why the process *pid* died.

    Args:
        pid: its id; None if it ran on another machine, whose kernel cannot be asked.
        exit_code: its exit code; ``-N`` if signal *N* ended it; None if nobody knows.
        peak: the most memory that it had, in bytes, as ``ru_maxrss`` tells it; 0 if unknown.

    Returns:
        The reason, and the evidence in words.
    """
    if exit_code is None:
        return Death(DeathReason.UNKNOWN)
    number = -exit_code if exit_code < 0 else exit_code - _SHELL_BASE
    if number == signal.SIGKILL:
        killed = _killed_for_memory(pid, peak) if pid is not None else ""
        if killed:
            return Death(DeathReason.MEMORY, killed)
        if exit_code < 0:
            return Death(DeathReason.KILLED, _killed_by(pid, peak))
    if exit_code >= 0:
        return Death(DeathReason.EXIT)
    if number in _LIMITS:
        return Death(DeathReason.LIMIT, _LIMITS[number])
    if number in _CRASHES:
        return Death(DeathReason.CRASH, f"it crashed by itself{_log_line(pid, ' segfault at ')}")
    return Death(DeathReason.KILLED, "sent by another process or by its own code")


def _killed_by(pid: int | None, peak: int) -> str:
    """Return who may have sent SIGKILL, in words; *pid* is None on another machine."""
    if pid is None:
        return "sent by a process, or by the kernel if memory was short on its machine"
    had = f"; it had at most {size_text(peak)}" if is_of_child(peak) else ""
    return f"sent by another process or by its own code; nothing shows a lack of memory{had}"


def _killed_for_memory(pid: int, peak: int) -> str:
    """Return what shows that *pid* was killed for lack of memory; "" if nothing does."""
    counted = "" if _kills is None else _kills.new()
    if line := _log_line(pid, "illed process "):
        return f"the kernel killed it for memory{line}"
    if counted:
        return counted
    limit = usable_memory()
    if peak >= _NEAR * limit and is_of_child(peak):
        return f"it had {size_text(peak)} of the {size_text(limit)} of memory that there are"
    return ""


def _log_line(pid: int | None, words: str) -> str:
    """Return ": " and the recent line of the kernel's log with *words* about *pid*, if any."""
    if pid is None:
        return ""
    ids = (f"{words}{pid} ", f"[{pid}]:{words}")
    for line in reversed(_kernel_log().splitlines()):
        stamp, _, text = line.partition("] ")
        try:
            age = time.clock_gettime(time.CLOCK_MONOTONIC) - float(stamp.rpartition("[")[2])
        except ValueError:
            continue
        if age > _RECENT_S:
            break
        if any(name in text for name in ids):
            return f" (kernel log: {text.strip()})"
    return ""


def _kernel_log() -> str:
    """Return the end of the kernel's log; "" where this process may not read it."""
    read = getattr(ctypes.CDLL(None), "klogctl", None)
    if read is None:
        return ""
    text = ctypes.create_string_buffer(_LOG_BYTES)
    count = read(_READ_ALL, text, _LOG_BYTES)
    return text.raw[:count].decode(errors="replace") if count > 0 else ""
