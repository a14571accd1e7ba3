"""The state of a job, as the batch system itself tells it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from .._public import public
from ..errors import DeathReason
from ._death import Death

__all__ = ["SLURM_END_STATES", "ask_batch_system", "explain_slurm_job", "job_state", "slurm_facts"]

SLURM_END_STATES = frozenset(
    [
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"),
    ]
)
"""The states of a Slurm job that has ended."""

_REASONS = {
    "BOOT_FAIL": DeathReason.NODE,
    "CANCELLED": DeathReason.JOB_CANCELLED,
    "DEADLINE": DeathReason.WALLTIME,
    "NODE_FAIL": DeathReason.NODE,
    "OUT_OF_MEMORY": DeathReason.MEMORY,
    "PREEMPTED": DeathReason.JOB_CANCELLED,
    "TIMEOUT": DeathReason.WALLTIME,
}
_CALL_LIMIT_S = 10.0
_FIELD = re.compile(r"(?:^|\s)(\w+)=(\S*)")
_NOTHING = ("", "None", "(null)")
_MOST_REASONS = 3  # why a job of Grid Engine waits; a large site gives one for each node
_ERROR = re.compile(r"^error reason\s+\d+:\s+(.*)$", re.MULTILINE)
_SCHEDULING = re.compile(r"^scheduling info:((?:.*\n)(?:\s+\S.*\n?)*)", re.MULTILINE)
_STATUS_COMMANDS = {"pbs": ("qstat",), "lsf": ("bjobs", "-noheader")}


@public("radical.asyncflow.worker")
def job_state(job: str, system: str) -> str:
    """Return the state of *job* in the words of its batch system; "" if that does not tell it.

    Args:
        system: ``"slurm"``, ``"pbs"``, ``"lsf"`` or ``"grid_engine"``; others are not asked.
    """
    if system == "slurm":
        return _slurm_state(slurm_facts(job))
    if system == "grid_engine":
        return _grid_engine_state(job)
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


@public("radical.asyncflow.worker")
def explain_slurm_job(job: str, *, ended: bool = False) -> Death | None:
    """Say why nothing of the Slurm job *job* runs any more.

    Args:
        ended: tell only of a job that has ended, which takes one question to Slurm.

    Returns:
        The reason, and the words of Slurm: the job has ended, waits in the queue once more, or
        one of its nodes is lost.  None if Slurm knows of nothing wrong, or does not answer.
    """
    facts = slurm_facts(job)
    state = facts.get("JobState", "")
    if state in SLURM_END_STATES:
        told = [state]
        if facts.get("Reason", "None") != "None":
            told.append(facts["Reason"])
        evidence = (
            f"Slurm says of job {job}: {', '.join(told)}; it ran for {facts.get('RunTime')} of "
            f"{facts.get('TimeLimit')} on {facts.get('NodeList')}, exit code "
            f"{facts.get('ExitCode')}"
        )
        return Death(_REASONS.get(state, DeathReason.UNKNOWN), evidence)
    if ended:
        return None
    if state == "PENDING" and facts.get("Restarts", "0") != "0":
        text = f"{state}, Restarts={facts['Restarts']}"
        return Death(
            DeathReason.NODE,
            f"Slurm says of job {job}: {text}; it is in the queue again, as after the failure of "
            "its node",
        )
    return _explain_nodes(job, facts) if state == "RUNNING" else None


def _explain_nodes(job: str, facts: Mapping[str, str]) -> Death | None:
    """Return which of the nodes of a job that runs are lost; None if Slurm knows of none."""
    told = ask_batch_system("sinfo", "-h", "-N", "-o", "%N %T", "-n", facts.get("NodeList", ""))
    states = dict(line.split()[:2] for line in told.splitlines() if " " in line)
    lost = [
        f"{node} is {state}"
        for node, state in states.items()
        if state.endswith("*") or state.startswith(("down", "fail"))
    ]
    if not lost:
        return None
    return Death(DeathReason.NODE, f"Slurm says of job {job}: {', '.join(lost)} (* is no answer)")


def _slurm_state(facts: Mapping[str, str]) -> str:
    told = facts.get("JobState", "")
    if facts.get("Reason", "") not in _NOTHING:
        told += f" ({facts['Reason']})"
    if facts.get("NodeList", "") not in _NOTHING:
        told += f" on {facts['NodeList']}"
    if facts.get("ExitCode", "0:0") != "0:0":
        told += f", exit code {facts['ExitCode']}"
    return told


def _grid_engine_state(job: str) -> str:
    """Return the state of *job*, and why it waits where the site lets Grid Engine tell that."""
    rows = map(str.split, ask_batch_system("qstat").splitlines())
    state = next((row[4] for row in rows if len(row) > 4 and row[0] == job), "")
    if not state:
        return ""
    told = ask_batch_system("qstat", "-j", job)
    reasons: list[str] = _ERROR.findall(told)
    for info in _SCHEDULING.findall(told):
        reasons += filter(None, map(str.strip, info.splitlines()))
    more = len(reasons) - _MOST_REASONS
    text = "; ".join(reasons[:_MOST_REASONS]) + (f"; and {more} more" if more > 0 else "")
    return f"{state}: {text}" if text else state


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
