"""The end of a rank, as the process that started it tells of it."""

from __future__ import annotations

from typing import NamedTuple

from ._death import Death, explain_death

__all__ = ["RankEnd"]


class RankEnd(NamedTuple):
    """The end of a rank.

    Attributes:
        time: nanoseconds of the machine's clock; of two ends, that of the lesser came first.
        pid: of the rank.
        code: the exit code; ``-N`` if signal *N* ended it.
        peak: the most memory that it had, in bytes.
    """

    time: int
    pid: int
    code: int
    peak: int

    @classmethod
    def read(cls, text: bytes) -> RankEnd | None:
        """Return the end that *text* tells of; None if it tells of none."""
        return cls(*map(int, text.split())) if text else None

    @property
    def death(self) -> Death:
        """The reason for it, and what shows it."""
        return explain_death(self.pid, self.code, peak=self.peak)
