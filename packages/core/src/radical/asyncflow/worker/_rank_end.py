"""The end of a rank, as the process that started it tells of it."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import DeathReason
from ..model import TaskUsage
from ._death import Death, explain_death

__all__ = ["RankEnd"]

_NUMBERS = 8


class RankEnd(NamedTuple):
    """The end of a rank.

    Attributes:
        time: nanoseconds of the machine's clock; of two ends, that of the lesser came first.
        pid: of the rank.
        code: the exit code; ``-N`` if signal *N* ended it.
        peak: the most memory that it had, in bytes, as the kernel counts: at least *least*.
        least: the memory of the process that started it, which counts as its own.
        cpu: its microseconds of CPU time, with those of the processes that it waited for.
        read, written: the bytes that it read and wrote; -1 if the system does not tell.
        told: what its node told of its death; "" if it ended on this one.
    """

    time: int
    pid: int
    code: int
    peak: int
    least: int
    cpu: int
    read: int
    written: int
    told: str = ""

    @classmethod
    def parse(cls, text: bytes) -> RankEnd | None:
        """Return the end that *text* tells of; None if it tells of none."""
        if not text:
            return None
        numbers = text.split(b" ", _NUMBERS)
        told = numbers.pop() if len(numbers) > _NUMBERS else b""
        time, pid, code, peak, least, cpu, read, written = map(int, numbers)
        return cls(time, pid, code, peak, least, cpu, read, written, told.decode())

    @property
    def usage(self) -> TaskUsage:
        """Its use; the memory is known only if it had more than the process that started it."""
        return TaskUsage(
            self.cpu / 1e6,
            self.peak if self.peak > self.least else None,
            None if self.read < 0 else self.read,
            None if self.written < 0 else self.written,
        )

    @property
    def death(self) -> Death:
        """The reason for it, and what shows it."""
        if not self.told:
            return explain_death(self.pid, self.code, peak=self.peak)
        reason, _, evidence = self.told.partition("|")
        return Death(DeathReason(reason), evidence)
