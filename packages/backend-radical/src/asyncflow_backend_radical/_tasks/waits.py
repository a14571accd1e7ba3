"""Tell what tasks on a pilot wait for, in words; made when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from radical.asyncflow.backend import Resources, TaskId, TaskRequest, Wait, WaitKind

from .._pilot.plan import PilotPlan

__all__ = ["wait_for_agent", "wait_for_worker"]

_MOST_HOLDERS = 5


def wait_for_worker(
    running: Sequence[TaskId], workers: int, most_workers: int, ahead: int, backend: str
) -> Wait:
    """Return what a function waits for whose group has so many *workers*."""
    if len(running) < workers:
        what = "which is starting" if workers == 1 else f"of which {workers - len(running)} start"
        text = f"a worker on the pilot of backend {backend!r}, {what}"
        return Wait(kind=WaitKind.WORKER, text=text, ahead=ahead)
    which = "the only worker" if most_workers == 1 else f"one of at most {most_workers} workers"
    return Wait(
        kind=WaitKind.SLOT,
        text=f"{which} on the pilot of backend {backend!r}, all busy",
        holders=running[:_MOST_HOLDERS],
        held_by=len(running),
        ahead=ahead,
    )


def wait_for_agent(
    asked: Resources,
    running: Iterable[TaskRequest],
    worker_cores: int,
    plan: PilotPlan,
    backend: str,
) -> Wait:
    """Return what a command waits for that RADICAL-Pilot has and has not begun.

    Args:
        running: the commands that run.
        worker_cores: the cores that the workers of functions hold.
    """
    holders = [(each.task_id, each.spec.resources) for each in running]
    gpus = sum(resources.gpus * resources.ranks for _, resources in holders)
    wanted = asked.gpus * asked.ranks
    if wanted and plan.gpus and gpus + wanted > plan.gpus:
        having = [task_id for task_id, resources in holders if resources.gpus]
        return Wait(
            kind=WaitKind.GPUS,
            text=f"{wanted:g} GPUs of the {plan.gpus} of the pilot of backend {backend!r}, of "
            f"which {plan.gpus - gpus:g} are free",
            holders=having[:_MOST_HOLDERS],
            held_by=len(having),
        )
    cores = worker_cores + sum(resources.total_cores for _, resources in holders)
    if plan.cores and cores + asked.total_cores > plan.cores:
        by_workers = f", {worker_cores} of them by workers of functions" if worker_cores else ""
        return Wait(
            kind=WaitKind.SLOT,
            text=f"{asked.total_cores} of the {plan.cores} cores of the pilot of backend "
            f"{backend!r}, of which {min(cores, plan.cores)} are taken{by_workers}",
            holders=[task_id for task_id, _ in holders][:_MOST_HOLDERS],
            held_by=len(holders),
        )
    return Wait(kind=WaitKind.ENGINE, text=f"the agent of RADICAL-Pilot of backend {backend!r}")
