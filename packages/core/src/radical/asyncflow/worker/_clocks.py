"""Moments that another process measured, as moments of the clock of this one."""

from __future__ import annotations

import socket
from functools import lru_cache
from pathlib import Path
from time import monotonic

from .._public import public

__all__ = ["Clocks", "read_clock"]


@public("radical.asyncflow.worker")
def read_clock() -> tuple[str, float]:
    """Return which clock `time.monotonic` is here, and what it says.

    All processes have the same one since a machine was started.
    """
    return _clock(), monotonic()


@lru_cache(maxsize=1)
def _clock() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


@public("radical.asyncflow.worker")
class Clocks:
    """The clocks of workers, set beside that of this process.

    A moment of a process on this machine is exact.  One of another machine comes out late by as
    long as the quickest message from there took, and never early.
    """

    def __init__(self) -> None:
        self._own = _clock()
        self._offsets: dict[str, float] = {}

    def offset(self, clock: str, sent: float) -> float:
        """Return the seconds to add to moments of *clock*, to get moments of the clock here.

        Args:
            clock, sent: what `read_clock` returned there when the message that just arrived was
                sent.
        """
        if clock == self._own:
            return 0.0
        offset = monotonic() - sent
        known = self._offsets.get(clock)
        if known is None or offset < known:
            self._offsets[clock] = known = offset
        return known
