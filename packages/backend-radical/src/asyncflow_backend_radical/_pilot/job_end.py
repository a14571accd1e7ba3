"""The end of a pilot's job, as the batch system tells it.  Slurm is asked, others are not."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from radical.asyncflow.errors import DeathReason
from radical.asyncflow.worker import SLURM_END_STATES, ask_batch_system, slurm_facts

from .job import read_job

__all__ = ["JobEnd", "batch_system", "explain_end", "find_end", "find_job"]

_REASONS = {
    "BOOT_FAIL": DeathReason.NODE,
    "CANCELLED": DeathReason.JOB_CANCELLED,
    "DEADLINE": DeathReason.WALLTIME,
    "NODE_FAIL": DeathReason.NODE,
    "OUT_OF_MEMORY": DeathReason.MEMORY,
    "PREEMPTED": DeathReason.JOB_CANCELLED,
    "TIMEOUT": DeathReason.WALLTIME,
}
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
    if batch_system(job_manager) != "slurm":
        return JobEnd()
    job = find_job(sandbox, job_manager)
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
    facts = slurm_facts(job)
    state = facts.get("JobState", "")
    if state not in SLURM_END_STATES:
        return None
    told = [state]
    if facts.get("Reason", "None") != "None":
        told.append(facts["Reason"])
    evidence = (
        f"Slurm says of job {job}: {', '.join(told)}; it ran for {facts.get('RunTime')} of "
        f"{facts.get('TimeLimit')} on {facts.get('NodeList')}, exit code {facts.get('ExitCode')}"
    )
    return JobEnd(_REASONS.get(state, DeathReason.UNKNOWN), evidence)


def batch_system(job_manager: str) -> str:
    """Return the name of the batch system in a URL of RADICAL-Pilot's, such as ``"slurm"``."""
    schemes = job_manager.partition("://")[0].split("+")
    names = [name for name in schemes if name not in ("ssh", "gsissh")]
    return {"pbspro": "pbs", "torque": "pbs"}.get(name := "".join(names), name)


def find_job(sandbox: str, job_manager: str) -> str:
    """Return the id of the job of the pilot in *sandbox*; "" if nothing tells it.

    Only Slurm tells it of a job that still waits.
    """
    found = read_job(sandbox).id
    return found or (_job_in(sandbox) if batch_system(job_manager) == "slurm" else "")


def _job_in(sandbox: str) -> str:
    """Return the id of the user's newest job that works in *sandbox*; "" if there is none."""
    jobs = ask_batch_system("squeue", "--me", "-h", "-t", "all", "-o", "%i %Z").splitlines()
    for line in reversed(jobs):
        job, _, folder = line.strip().partition(" ")
        if folder.rstrip("/") == sandbox.rstrip("/"):
            return job
    return ""
