"""The memory and the GPUs of this machine that are free.  Cores are the slots themselves."""

from __future__ import annotations

from collections.abc import Sequence

from radical.asyncflow.errors import ResourceError
from radical.asyncflow.model import Resources
from radical.asyncflow.worker import FreeGpus, Gpu

__all__ = ["MachineResources"]


class MachineResources:
    """The resources that a backend may use, and the memory (bytes) and GPUs (ids) that are free.

    It is not safe across threads.
    """

    def __init__(self, slots: int, memory: int, gpus: Sequence[Gpu]) -> None:
        self.slots = slots
        self.memory = memory
        self.gpus = tuple(gpus)
        self._free_memory = memory
        self._free_gpus = FreeGpus(gpus)

    def check(self, name: str, asked: Resources) -> None:
        """Raise ResourceError if task *name* could not run even on an idle backend."""
        wrong = [
            f"{total} {unit} (it has {limit})"
            for unit, total, limit in (
                ("cores", asked.total_cores, self.slots),
                ("GPUs", asked.total_gpus, len(self.gpus)),
                ("bytes of memory", asked.total_memory, self.memory),
            )
            if total > limit
        ]
        if wrong:
            raise ResourceError(
                f"task {name!r} asks for more than the backend ever has: {', '.join(wrong)}; "
                "ask for less, or raise max_workers, memory or gpus in its config"
            )

    def fits(self, asked: Resources) -> bool:
        """Tell whether what is *asked* is free now."""
        return asked.total_memory <= self._free_memory and asked.total_gpus <= len(self._free_gpus)

    def take(self, asked: Resources) -> tuple[Gpu, ...]:
        """Take what is *asked*; return the ids of the GPUs."""
        self._free_memory -= asked.total_memory
        return self._free_gpus.take(asked.total_gpus)

    def give_back(self, asked: Resources, gpus: tuple[Gpu, ...]) -> None:
        """Undo `take`."""
        self._free_memory += asked.total_memory
        self._free_gpus.give_back(gpus)
