"""The memory and the GPUs of this machine that are free.  Cores are the slots themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from radical.asyncflow.errors import ResourceError
from radical.asyncflow.model import Resources
from radical.asyncflow.worker import FreeGpus, Gpu, GpuShares, found_gpus

from .ranks import Ranks
from .warm import WarmWorkers

__all__ = ["MachineResources"]


class MachineResources:
    """The resources that a backend may use, and the memory (bytes) and GPUs (ids) that are free.

    It is not safe across threads.

    Attributes:
        slots: the cores.
        warm: the worker processes that have used GPUs.
        ranks: runs tasks with ranks.
    """

    def __init__(
        self,
        slots: int,
        memory: int,
        find_gpus: Callable[[], tuple[Gpu, ...]],
        warm: WarmWorkers,
        ranks: Ranks,
    ) -> None:
        """Take the GPUs that *find_gpus* returns, which is called when a task asks for one."""
        self.slots = slots
        self.memory = memory
        self.warm = warm
        self.ranks = ranks
        self._free_memory = memory
        self._find_gpus = find_gpus

    @cached_property
    def gpus(self) -> tuple[Gpu, ...]:
        """The ids of all GPUs."""
        return self._find_gpus()

    @cached_property
    def _free_gpus(self) -> FreeGpus:
        return FreeGpus(self.gpus)

    @property
    def free_gpus(self) -> float:
        """The GPUs that no task has, with parts of GPUs."""
        return sum(self._free_gpus[gpu] for gpu in self.gpus) / 1000

    @property
    def free_memory(self) -> int:
        """The bytes of memory that no task has."""
        return self._free_memory

    def check(self, name: str, asked: Resources) -> None:
        """Raise ResourceError if task *name* could not run even on an idle backend."""
        ranks = f" for each of {asked.ranks} ranks" if asked.ranks > 1 else ""
        wrong = [
            f"{each} {unit}{ranks} (it has {limit})"
            for unit, each, limit in (
                ("core" if asked.cores == 1 else "cores", asked.cores, self.slots),
                ("bytes of memory", asked.memory, self.memory),
            )
            if each * asked.ranks > limit
        ]
        if asked.gpus and not self._free_gpus.could_fit(asked.gpus, asked.ranks):
            there = str(len(self.gpus)) if self.gpus else f"0; {found_gpus().how}"
            wrong.append(f"{asked.gpus} GPUs{ranks} (it has {there})")
        if wrong:
            raise ResourceError(
                f"task {name!r} asks for more than the backend ever has: {', '.join(wrong)}; "
                "ask for less, or raise max_workers, memory or gpus in its config"
            )

    def fits(self, asked: Resources) -> bool:
        """Tell whether what is *asked* is free now."""
        return asked.total_memory <= self._free_memory and (
            not asked.gpus or self._free_gpus.fits(asked.gpus, asked.ranks)
        )

    def take(self, asked: Resources, *, for_worker: bool) -> GpuShares:
        """Take what is *asked*, which fits; return the GPUs.

        With *for_worker* they are, if possible, those that an idle worker process has used.
        """
        self._free_memory -= asked.total_memory
        if not asked.gpus:
            return {}
        free, warm = self._free_gpus, self.warm
        for gpus in warm.idle() if for_worker else ():
            taken = free.take(asked.gpus, asked.ranks, among=gpus)
            if taken is not None:
                if len(taken) == len(gpus):
                    return taken
                free.give_back(taken)
        # Where the fewest idle workers have to end.
        taken = free.take(
            asked.gpus,
            asked.ranks,
            cost=lambda gpu, share: max(0, share + warm.idle_share(gpu) - free[gpu]),
        )
        assert taken is not None
        return taken

    def give_back(self, asked: Resources, gpus: GpuShares) -> None:
        """Undo `take`."""
        self._free_memory += asked.total_memory
        if gpus:
            self._free_gpus.give_back(gpus)
