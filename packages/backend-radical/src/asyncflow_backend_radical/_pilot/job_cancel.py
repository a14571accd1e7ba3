"""The end of a pilot's job whose owner has died: a program that the guard of the owner runs."""

from __future__ import annotations

import subprocess
import sys
import time

from radical.asyncflow.worker import SLURM_END_STATES, slurm_facts

from .job_end import batch_system, find_job

__all__ = ["cancel_job", "main"]

_COMMANDS = {
    "cobalt": ("qdel",),
    "flux": ("flux", "job", "cancel"),
    "lsf": ("bkill",),
    "oar": ("oardel",),
    "pbs": ("qdel",),
    "slurm": ("scancel",),
}
_FIND_S = 30.0  # for a job that was just being submitted to show up
_CANCEL_S = 120.0  # for a batch system that does not answer at once
_CALL_LIMIT_S = 30.0
_POLL_S = 1.0


def main() -> None:
    """Cancel the job of the pilot whose folder and job manager are the last two arguments."""
    cancel_job(*sys.argv[-2:])


def cancel_job(sandbox: str, job_manager: str) -> bool:
    """Have the batch system cancel the job of the pilot in *sandbox*.

    Returns:
        False if no job was found, or the batch system did not take the order in time.
    """
    system = batch_system(job_manager)
    if system not in _COMMANDS:
        return False
    deadline = time.monotonic() + _FIND_S
    while not (job := find_job(sandbox, job_manager)):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    deadline = time.monotonic() + _CANCEL_S
    while not (_call(*_COMMANDS[system], job) or _has_ended(job, system)):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _has_ended(job: str, system: str) -> bool:
    return system == "slurm" and slurm_facts(job).get("JobState") in SLURM_END_STATES


def _call(*words: str) -> bool:
    try:
        subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_CALL_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return True
