"""The state of a job, as the batch system itself tells it."""

from __future__ import annotations

import re
import subprocess
from contextlib import suppress

from .._public import public

__all__ = ["SLURM_END_STATES", "ask_batch_system", "job_state", "slurm_facts"]

SLURM_END_STATES = frozenset(
    [
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"),
    ]
)
"""The states of a Slurm job that has ended."""

_CALL_LIMIT_S = 10.0
_FIELD = re.compile(r"(?:^|\s)(\w+)=(\S*)")
_NOTHING = ("", "None", "(null)")
_STATUS_COMMANDS = {"pbs": ("qstat",), "lsf": ("bjobs", "-noheader")}


@public("radical.asyncflow.worker")
def job_state(job: str, system: str) -> str:
    """Return the state of *job* in the words of its batch system; "" if that does not tell it.

    Args:
        system: ``"slurm"``, ``"pbs"`` or ``"lsf"``; others are not asked.
    """
    if system == "slurm":
        return _slurm_state(slurm_facts(job))
    if system not in _STATUS_COMMANDS:
        return ""
    lines = ask_batch_system(*_STATUS_COMMANDS[system], job).strip().splitlines()
    return " ".join(lines[-1].split()) if lines else ""


@public("radical.asyncflow.worker")
def slurm_facts(job: str) -> dict[str, str]:
    """Return what ``scontrol show job`` tells of *job*; nothing if Slurm does not answer.

    A value ends at its first blank.
    """
    return dict(_FIELD.findall(ask_batch_system("scontrol", "--oneliner", "show", "job", job)))


def _slurm_state(facts: dict[str, str]) -> str:
    told = facts.get("JobState", "")
    if facts.get("Reason", "") not in _NOTHING:
        told += f" ({facts['Reason']})"
    if facts.get("NodeList", "") not in _NOTHING:
        told += f" on {facts['NodeList']}"
    if facts.get("ExitCode", "0:0") != "0:0":
        told += f", exit code {facts['ExitCode']}"
    return told


@public("radical.asyncflow.worker")
def ask_batch_system(*words: str) -> str:
    """Return what a program prints; "" if it fails, or does not answer within 10 seconds."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_CALL_LIMIT_S,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout
    return ""
