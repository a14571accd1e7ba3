"""The watch for an agent that does not answer, although the batch system runs the pilot's job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["AgentWatch"]

_JOB_SIGNS = ("bootstrap_0.out", "env/bs0_orig.env")  # a batch system may keep back the first
_AGENT_SIGNS = ("agent_0.out",)
_LOOK_S = 1.0  # between two looks, because a look asks a shared file system


class AgentWatch:
    """The wait for the agent of one pilot, from the first sign of life of the pilot's job on."""

    def __init__(self, sandbox: Path, *, start_limit_s: float, answer_limit_s: float) -> None:
        """Begin to wait for the job.

        Args:
            sandbox: the pilot's folder.
            start_limit_s: how long the job may run until it starts the agent.
            answer_limit_s: how long the agent may take from then on.
        """
        self._sandbox = sandbox
        self._limits = [(_JOB_SIGNS, start_limit_s), (_AGENT_SIGNS, answer_limit_s)]
        self._next_look_at = 0.0
        self._ends_at: float | None = None  # None while the job waits

    def is_over(self, now: float) -> bool:
        """Tell whether a limit is over at *now*, a time of `time.monotonic`."""
        if now >= self._next_look_at:
            self._next_look_at = now + _LOOK_S
            while self._limits and self._shows_one_of(self._limits[0][0]):
                self._ends_at = now + self._limits.pop(0)[1]
        return self._ends_at is not None and now >= self._ends_at

    def _shows_one_of(self, signs: Sequence[str]) -> bool:
        return any((self._sandbox / sign).exists() for sign in signs)
