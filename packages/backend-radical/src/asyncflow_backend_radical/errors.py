"""The error that only this backend raises."""

from __future__ import annotations

from radical.asyncflow.errors import BackendLostError, DeathReason

__all__ = ["PilotLostError"]

_ENDS = {
    "DONE": "the pilot ended (DONE: its walltime was over, or its job was ended)",
    "CANCELED": "the pilot was cancelled (CANCELED)",
    "FAILED": "the pilot failed (FAILED)",
    "LOST": "the process that held RADICAL-Pilot died",
}


class PilotLostError(BackendLostError):
    """The pilot ended, for whatever reason, while it held tasks.

    Attributes:
        state: the pilot's last state in RADICAL-Pilot's words: ``"DONE"`` at the end of
            its walltime, ``"CANCELED"``, ``"FAILED"``; ``"LOST"`` if the process that
            held RADICAL-Pilot died.
        logs: the folder of the pilot's own logs, or "".
        reason: the kind of its end.
    """

    def __init__(
        self,
        state: str,
        logs: str = "",
        detail: str = "",
        reason: DeathReason = DeathReason.UNKNOWN,
    ) -> None:
        self.state = state
        self.logs = logs
        self.reason = reason
        end = _ENDS.get(state, f"the pilot ended in state {state}")
        if reason is not DeathReason.UNKNOWN:
            end = f"the pilot was lost ({reason}; {state})"
        lines = [f"{end} with tasks outstanding"]
        if logs:
            lines.append(f"its logs are in {logs}")
        if detail:
            lines.append(detail)
        super().__init__("\n".join(lines))
