"""The end of a pilot's job, as the batch system tells it.  Slurm is asked, others are not."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from radical.asyncflow.errors import DeathReason
from radical.asyncflow.worker import Death, ask_batch_system, explain_slurm_job

from .job import read_job

__all__ = ["batch_system", "explain_end", "find_job"]

_PATIENCE_S = 10.0  # for a job that is being ended
_POLL_S = 0.5


def explain_end(sandbox: str, job_manager: str) -> Death:
    """Say why the job of the pilot in *sandbox* ended.

    Args:
        job_manager: the URL of the batch system in RADICAL-Pilot's configuration.
    """
    with suppress(OSError):
        if Path(sandbox, "killme.signal").read_text(encoding="utf-8").strip() == "DONE":
            text = "its agent ended itself, because the runtime that it was given was over"
            return Death(DeathReason.WALLTIME, text)
    if batch_system(job_manager) != "slurm":
        return Death(DeathReason.UNKNOWN)
    job = find_job(sandbox, job_manager)
    deadline = time.monotonic() + _PATIENCE_S
    while job:
        end = explain_slurm_job(job)
        if end is not None:
            return end
        if time.monotonic() >= deadline:
            break
        time.sleep(_POLL_S)
    return Death(DeathReason.UNKNOWN)


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
