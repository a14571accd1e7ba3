"""The batch jobs of a cluster of dask-jobqueue, and what its batch system says of them."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from radical.asyncflow.worker import job_state, slurm_facts

__all__ = ["BatchJob", "describe_batch_jobs", "find_batch_jobs", "is_job_queue"]

_SYSTEMS = {"scancel": "slurm", "qdel": "pbs", "bkill": "lsf"}
"""The batch systems, by the program that cancels a job there."""

_LOG_LINES = 3
_LOG_TAIL_BYTES = 4096


class BatchJob(NamedTuple):
    """A job that runs workers, or waits to do so.

    Attributes:
        worker: the name of its worker, or what the names of its workers begin with.
    """

    id: str
    system: str
    worker: str = ""

    def runs(self, worker: str) -> bool:
        """Tell whether the worker of this name runs in the job."""
        return worker == self.worker or worker.startswith(f"{self.worker}-")


def is_job_queue(cluster_class: Any) -> bool:
    """Tell whether *cluster_class* is one of dask-jobqueue, which is imported if it is."""
    core = sys.modules.get("dask_jobqueue.core")
    return core is not None and issubclass(cluster_class, core.JobQueueCluster)


def find_batch_jobs(cluster: Any) -> list[BatchJob]:
    """Return the jobs that *cluster* has submitted; none if it submits no jobs."""
    found = []
    for name, worker in tuple(getattr(cluster, "workers", {}).items()):
        job, cancel = getattr(worker, "job_id", None), getattr(worker, "cancel_command", None)
        if job and cancel:
            system = _SYSTEMS.get(shlex.split(cancel)[0], "")
            found.append(BatchJob(str(job), system, str(name)))
    return found


def describe_batch_jobs(jobs: list[BatchJob]) -> str:
    """Return the state of each of *jobs*, and the end of its log, where they can be had."""
    return "\n".join(map(_describe, jobs))


def _describe(job: BatchJob) -> str:
    state = job_state(job.id, job.system) or "its state is not known"
    log = slurm_facts(job.id).get("StdErr", "") if job.system == "slurm" else ""
    log = log.replace("%J", job.id).replace("%j", job.id)
    lines = _last_lines(Path(log)) if log else []
    quoted = f"; its log {log} ends with\n  " + "\n  ".join(lines) if lines else ""
    return f"job {job.id}: {state}{quoted}"


def _last_lines(file: Path) -> list[str]:
    with suppress(OSError), file.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - _LOG_TAIL_BYTES))
        text = stream.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-_LOG_LINES:]
    return []
