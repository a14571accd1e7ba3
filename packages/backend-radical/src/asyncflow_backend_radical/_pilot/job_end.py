"""The end of a pilot's job, as the batch system tells it.  Slurm is asked, others are not."""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from radical.asyncflow.errors import DeathReason

from .job import read_job

__all__ = ["JobEnd", "explain_end", "find_end"]

_REASONS = {
    "BOOT_FAIL": DeathReason.NODE,
    "CANCELLED": DeathReason.JOB_CANCELLED,
    "DEADLINE": DeathReason.WALLTIME,
    "NODE_FAIL": DeathReason.NODE,
    "OUT_OF_MEMORY": DeathReason.MEMORY,
    "PREEMPTED": DeathReason.JOB_CANCELLED,
    "TIMEOUT": DeathReason.WALLTIME,
}
_ENDED = frozenset({*_REASONS, "COMPLETED", "FAILED"})
_FIELD = re.compile(r"(?:^|\s)(\w+)=(\S*)")
_CALL_LIMIT_S = 10.0
_PATIENCE_S = 10.0  # for a job that is being ended
_POLL_S = 0.5


class JobEnd(NamedTuple):
    """The reason for the end of a job, and what shows it, in words."""

    reason: DeathReason = DeathReason.UNKNOWN
    evidence: str = ""


def explain_end(sandbox: str, job_manager: str) -> JobEnd:
    """Say why the job of the pilot in *sandbox* ended.

    Args:
        job_manager: the URL of the batch system in RADICAL-Pilot's configuration.
    """
    with suppress(OSError):
        if Path(sandbox, "killme.signal").read_text(encoding="utf-8").strip() == "DONE":
            text = "its agent ended itself, because the runtime that it was given was over"
            return JobEnd(DeathReason.WALLTIME, text)
    if "slurm" not in job_manager.partition("://")[0]:
        return JobEnd()
    job = read_job(sandbox).id or _job_in(sandbox)
    deadline = time.monotonic() + _PATIENCE_S
    while job:
        end = find_end(job)
        if end is not None:
            return end
        if time.monotonic() >= deadline:
            break
        time.sleep(_POLL_S)
    return JobEnd()


def find_end(job: str) -> JobEnd | None:
    """Return how the Slurm job *job* ended; None if it has not, or Slurm does not answer."""
    facts = dict(_FIELD.findall(_call("scontrol", "--oneliner", "show", "job", job)))
    state = facts.get("JobState", "")
    if state not in _ENDED:
        return None
    told = [state]
    if facts.get("Reason", "None") != "None":
        told.append(facts["Reason"])
    evidence = (
        f"Slurm says of job {job}: {', '.join(told)}; it ran for {facts.get('RunTime')} of "
        f"{facts.get('TimeLimit')} on {facts.get('NodeList')}, exit code {facts.get('ExitCode')}"
    )
    return JobEnd(_REASONS.get(state, DeathReason.UNKNOWN), evidence)


def _job_in(sandbox: str) -> str:
    """Return the id of the user's newest job that works in *sandbox*; "" if there is none."""
    for line in reversed(_call("squeue", "--me", "-h", "-t", "all", "-o", "%i %Z").splitlines()):
        job, _, folder = line.strip().partition(" ")
        if folder.rstrip("/") == sandbox.rstrip("/"):
            return job
    return ""


def _call(*words: str) -> str:
    """Return what the program prints; "" if it fails or does not answer in time."""
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
