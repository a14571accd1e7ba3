"""The workers of the cluster, and the jobs that wait for a worker that is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from radical.asyncflow.errors import ResourceError

from .jobs import Job

__all__ = ["KnownWorkers"]


class KnownWorkers:
    """The workers that the scheduler has told of.

    Attributes:
        without_nanny: the addresses of those that nobody would start again.
    """

    def __init__(self, patience: float, give_up: Callable[[Job, ResourceError], None]) -> None:
        """Call *give_up* with each job that no worker could run for *patience* seconds."""
        self._patience = patience
        self._give_up = give_up
        self._workers: dict[str, tuple[int, dict[str, float]]] = {}
        self._unfit: dict[Job, tuple[Mapping[str, float], asyncio.TimerHandle]] = {}
        self.without_nanny: set[str] = set()

    @property
    def slots(self) -> int:
        """The number of calls that run at once."""
        return sum(threads for threads, _ in self._workers.values())

    @property
    def counts_cores(self) -> bool:
        """True if workers declare their cores as a Dask resource."""
        return any("CPU" in resources for _, resources in self._workers.values())

    def __contains__(self, address: str) -> bool:
        return address in self._workers

    def update(self, identity: Mapping[str, Any]) -> None:
        """Take over the workers from *identity*, which is what a scheduler says of itself."""
        workers = identity["workers"]
        self._workers = {
            address: (int(worker["nthreads"]), dict(worker.get("resources") or {}))
            for address, worker in workers.items()
        }
        self.without_nanny = {
            address for address, worker in workers.items() if not worker.get("nanny")
        }
        for job, (asked, timer) in list(self._unfit.items()):
            if job.ended or self._fits(asked):
                timer.cancel()
                del self._unfit[job]

    def remove(self, address: str) -> None:
        """Forget a worker that is gone."""
        self._workers.pop(address, None)

    def watch(self, job: Job, asked: Mapping[str, float]) -> None:
        """Give *job* up in time if no worker ever has the resources that it asks for."""
        if asked and not self._fits(asked):
            timer = asyncio.get_running_loop().call_later(self._patience, self._expire, job)
            self._unfit[job] = asked, timer

    def unfit(self, job: Job) -> tuple[str, float] | None:
        """Return what *job* waits for that no worker has, and the seconds until it fails for that.

        None if a worker has it.
        """
        waiting = self._unfit.get(job)
        if waiting is None:
            return None
        asked, timer = waiting
        left = max(0.0, timer.when() - asyncio.get_running_loop().time())
        return (
            f"a worker with {_in_words(asked)}, which none has; the task fails if none comes",
            left,
        )

    def close(self) -> None:
        """Stop watching."""
        for _, timer in self._unfit.values():
            timer.cancel()
        self._unfit.clear()

    def _fits(self, asked: Mapping[str, float]) -> bool:
        return any(
            all(resources.get(name, 0) >= amount for name, amount in asked.items())
            for _, resources in self._workers.values()
        )

    def _expire(self, job: Job) -> None:
        asked, _ = self._unfit.pop(job)
        if job.ended:
            return
        kinds = sorted({_in_words(has) or "no resources" for _, has in self._workers.values()})
        number = len(self._workers)
        there = f"{number} {'worker' if number == 1 else 'workers'} with {' or '.join(kinds)}"
        self._give_up(
            job,
            ResourceError(
                f"task {job.name!r} asks for {_in_words(asked)}, which no worker had for "
                f"{self._patience:g} s (there is {there if kinds else 'no worker'}); start "
                "workers with these resources, or raise resource_patience"
            ),
        )


def _in_words(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={amount:g}" for name, amount in resources.items())
