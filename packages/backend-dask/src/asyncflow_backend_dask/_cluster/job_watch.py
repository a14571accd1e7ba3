"""Watch the batch jobs of a cluster: why a worker died, and whether another one can come."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from radical.asyncflow.errors import DeathReason
from radical.asyncflow.worker import (
    SLURM_END_STATES,
    Death,
    explain_slurm_job,
    job_state,
    slurm_facts,
)

from .batch_jobs import BatchJob, find_batch_jobs

__all__ = ["JobWatch"]

_PATIENCE_S = 12.0  # for a batch system to know of the end of a job
_ALONE_S = 3.0  # after which a worker whose nanny answers has died alone
_POLL_S = 0.5
_CONNECT_TIMEOUT_S = 3.0
_MOST_ENDS = 3  # that are quoted


class JobWatch:
    """The batch jobs of the workers of one cluster object."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._ends: dict[str, str] = {}  # what is known of the end of a job, by its id

    def ask_for_death(self, worker: str, nanny: str) -> Callable[[threading.Event], Death] | None:
        """Return what finds out why the *worker* of this name died; None if it runs in no job.

        Call this at once: the cluster object forgets a job some seconds after its worker is gone.
        """
        job = next((job for job in find_batch_jobs(self._cluster) if job.runs(worker)), None)
        return None if job is None else partial(self._explain, job, nanny)

    def describe_end(self) -> str:
        """Return why no worker can come any more; "" if one can, or if nobody knows.

        This asks the batch system.
        """
        jobs = find_batch_jobs(self._cluster)
        for job in jobs:
            if job.system != "slurm" or slurm_facts(job.id).get("JobState") not in SLURM_END_STATES:
                return ""
            if (end := explain_slurm_job(job.id)) is not None:
                self._ends[job.id] = end.evidence
        told = list(self._ends.values())[-_MOST_ENDS:]
        if not told:
            return "its workers have no job, so no worker will come"
        return f"every job of its workers has ended, so no worker will come: {'; '.join(told)}"

    def _explain(self, job: BatchJob, nanny: str, hurry: threading.Event) -> Death:
        began = time.monotonic()
        last = Death(DeathReason.UNKNOWN)
        while True:
            found = explain_slurm_job(job.id) if job.system == "slurm" else None
            if found is not None:
                self._ends[job.id] = found.evidence
                return found
            waited = time.monotonic() - began
            problem = _problem_with(nanny)
            if problem is None:
                last = Death(
                    DeathReason.UNKNOWN, f"its job {job.id} goes on, so its process ended alone"
                )
                if waited >= _ALONE_S:
                    return last
            elif isinstance(problem, ConnectionRefusedError):
                said = job_state(job.id, job.system) or "not known"
                last = Death(
                    DeathReason.UNKNOWN,
                    f"its nanny is gone, too, and the state of its job {job.id} is {said}",
                )
            else:
                last = Death(
                    DeathReason.NODE,
                    f"its node does not answer at {nanny} ({problem}), and the batch system tells "
                    f"of no end of its job {job.id}",
                )
            if waited >= _PATIENCE_S or hurry.wait(_POLL_S):
                return last


def _problem_with(nanny: str) -> OSError | None:
    """Return what happens to those who connect to the address of a nanny; None if it answers."""
    place = urlsplit(nanny)
    if place.hostname is None or place.port is None:
        return ConnectionRefusedError("there is no nanny")
    try:
        socket.create_connection((place.hostname, place.port), _CONNECT_TIMEOUT_S).close()
    except OSError as error:
        return error
    return None
