"""The workers that are there, and who waits for one that is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from radical.asyncflow.errors import ResourceError

from .jobs import Job

__all__ = ["Fleet"]


class Fleet:
    """What the scheduler says of its workers."""

    def __init__(self, patience: float, give_up: Callable[[Job, ResourceError], None]) -> None:
        """*give_up* is told of a job that no worker could run for *patience* seconds."""
        self._patience = patience
        self._give_up = give_up
        self._workers: dict[str, tuple[int, dict[str, float]]] = {}
        self._unfit: dict[Job, tuple[Mapping[str, float], asyncio.TimerHandle]] = {}
        self.without_nanny: set[str] = set()
        """Those that nobody would start again."""

    @property
    def slots(self) -> int:
        """How many calls run at once."""
        return sum(threads for threads, _ in self._workers.values())

    @property
    def counts_cores(self) -> bool:
        """Whether workers say how many cores they have, as a Dask resource."""
        return any("CPU" in resources for _, resources in self._workers.values())

    def __contains__(self, address: str) -> bool:
        return address in self._workers

    def update(self, identity: Mapping[str, Any]) -> None:
        """Take in what the scheduler says of itself."""
        self._workers = {
            address: (int(worker["nthreads"]), dict(worker.get("resources") or {}))
            for address, worker in identity["workers"].items()
        }
        self.without_nanny = {
            address for address, worker in identity["workers"].items() if not worker.get("nanny")
        }
        for job, (asked, timer) in list(self._unfit.items()):
            if job.over or self._fits(asked):
                timer.cancel()
                del self._unfit[job]

    def remove(self, address: str) -> None:
        self._workers.pop(address, None)

    def watch(self, job: Job, asked: Mapping[str, float]) -> None:
        """See to it that *job* does not wait for ever for resources that nobody has."""
        if asked and not self._fits(asked):
            timer = asyncio.get_running_loop().call_later(self._patience, self._late, job)
            self._unfit[job] = asked, timer

    def close(self) -> None:
        for _, timer in self._unfit.values():
            timer.cancel()
        self._unfit.clear()

    def _fits(self, asked: Mapping[str, float]) -> bool:
        return any(
            all(resources.get(name, 0) >= amount for name, amount in asked.items())
            for _, resources in self._workers.values()
        )

    def _late(self, job: Job) -> None:
        asked, _ = self._unfit.pop(job)
        if job.over:
            return
        wanted = ", ".join(f"{name}={amount:g}" for name, amount in asked.items())
        has = {
            ", ".join(f"{name}={amount:g}" for name, amount in resources.items()) or "no resources"
            for _, resources in self._workers.values()
        }
        there = f"there are {len(self._workers)} workers, with {' or '.join(sorted(has))}"
        self._give_up(
            job,
            ResourceError(
                f"task {job.name!r} asks for {wanted}, which no worker had for "
                f"{self._patience:g} s ({there if has else 'there is no worker'}); start workers "
                "with these resources, or raise resource_patience"
            ),
        )
