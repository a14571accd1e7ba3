"""Tell what jobs on a Dask cluster wait for, in words; made when somebody asks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from radical.asyncflow.backend import TaskId, Wait, WaitKind

from .jobs import Job, resources_of
from .workers import KnownWorkers

__all__ = ["waits_of"]

_MOST_HOLDERS = 5


def waits_of(
    asked: Collection[TaskId],
    jobs: Mapping[TaskId, Job],
    workers: KnownWorkers,
    *,
    missing: Wait,
    name: str,
) -> dict[TaskId, Wait]:
    """Return what those of the *asked* tasks wait for that no worker has begun.

    Args:
        missing: what they wait for if there is no worker.
        name: the name of the backend.
    """
    running = [job for job in jobs.values() if job.worker is not None]
    found: dict[TaskId, Wait] = {}
    for task_id in asked:
        job = jobs.get(task_id)
        if job is None or job.worker is not None or job.computed:
            continue
        if not workers.slots:
            found[task_id] = missing
        elif (unfit := workers.unfit(job)) is not None:
            text, seconds = unfit
            found[task_id] = Wait(kind=WaitKind.WORKER, text=text, seconds=seconds)
        elif not job.key:
            found[task_id] = Wait(
                kind=WaitKind.ENGINE, text=f"its way to the scheduler of backend {name!r}"
            )
        else:
            found[task_id] = _for_place(job, running, workers, name)
    return found


def _for_place(job: Job, running: list[Job], workers: KnownWorkers, name: str) -> Wait:
    """Return what *job* waits for that some worker can run."""
    asked = resources_of(job.request.spec.resources, count_cores=workers.counts_cores)
    for resource, kind in (("GPU", WaitKind.GPUS), ("MEMORY", WaitKind.MEMORY)):
        amount = asked.get(resource, 0)
        held = [
            other
            for other in running
            if resources_of(other.request.spec.resources, count_cores=False).get(resource, 0)
        ]
        if amount and held:
            what = f"{amount:g} GPUs" if resource == "GPU" else f"{amount / 1e9:.3g} GB of memory"
            return Wait(
                kind=kind,
                text=f"{what} of one worker of backend {name!r}",
                holders=[other.task_id for other in held[:_MOST_HOLDERS]],
                held_by=len(held),
            )
    slots = workers.slots
    if len(running) >= slots:
        which = "the only thread" if slots == 1 else f"one of the {slots:,} threads"
        text = f"{which} of the workers of backend {name!r}, all busy"
    else:
        text = (
            f"the scheduler of backend {name!r}, where {len(running):,} of this run's tasks run on "
            f"{slots:,} {'thread' if slots == 1 else 'threads'} of the workers"
        )
    return Wait(
        kind=WaitKind.SLOT,
        text=text,
        holders=[other.task_id for other in running[:_MOST_HOLDERS]],
        held_by=len(running),
    )
