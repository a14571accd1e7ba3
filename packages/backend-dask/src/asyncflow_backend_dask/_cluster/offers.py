"""The Dask resources that the workers of a local cluster offer: their shares of this machine."""

from __future__ import annotations

from functools import cached_property

from dask.system import CPU_COUNT
from distributed.system import MEMORY_LIMIT
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.worker import Gpu, found_gpus, usable_cores

from ..config import DaskConfig

__all__ = ["WorkerOffers", "number_of_workers"]


def number_of_workers(config: DaskConfig) -> int:
    """Return how many workers a local cluster has; with ``adapt``, at the most.

    If ``adapt`` limits something else, such as cores, these workers fill the machine.
    """
    if config.adapt is not None and config.adapt.maximum is not None:
        return config.adapt.maximum
    if config.n_workers is not None:
        return config.n_workers
    return max(1, usable_cores() // config.threads_per_worker) if config.processes else 1


class WorkerOffers:
    """The resources of the workers of a local cluster, which are numbered from 0 on.

    What the setting ``resources`` names is as it says, and the rest comes from the machine.

    Attributes:
        workers: how many there are.
    """

    def __init__(self, config: DaskConfig) -> None:
        self.workers = number_of_workers(config)
        self._config = config
        self._given = config.resources or {}

    @cached_property
    def gpus(self) -> list[tuple[Gpu, ...]]:
        """The GPUs of each worker that has any.

        Raises:
            ConfigurationError: the setting ``resources`` names more than there are.
        """
        if "GPU" in self._given:
            return self._given_gpus(self._given["GPU"])
        if self._config.adapt is not None:
            return []
        ids = found_gpus().ids
        each, more = divmod(len(ids), max(self.workers, 1))
        if not self._config.processes:
            more = 0  # such workers are all alike
        dealt = []
        for number in range(self.workers if each else more):
            count = each + (number < more)
            dealt.append(ids[:count])
            ids = ids[count:]
        return dealt

    def _given_gpus(self, amount: float) -> list[tuple[Gpu, ...]]:
        """Return the GPUs of workers that have *amount* each: some, or a part of one."""
        if not amount:
            return []
        per_gpu = int(1 / amount + 1e-9)  # workers that share one
        count = -(-self.workers // per_gpu) if amount < 1 else self.workers * int(amount)
        found = found_gpus()
        ids = found.ids if found.is_known else tuple(range(count))
        if len(ids) < count:
            raise ConfigurationError(
                f"resources: GPU={amount:g} for each of {self.workers} workers takes {count} "
                f"GPUs, and there are {len(ids)} ({found.how})"
            )
        if amount < 1:
            return [(ids[number // per_gpu],) for number in range(self.workers)]
        size = int(amount)
        return [ids[number * size :][:size] for number in range(self.workers)]

    def of(self, number: int) -> dict[str, float]:
        """Return the Dask resources of the worker of that *number*."""
        offer = {"CPU": float(self._cores(number)), "MEMORY": float(self._memory())}
        if number < len(self.gpus):
            offer["GPU"] = float(len(self.gpus[number]))
        return offer | self._given

    def most(self, name: str) -> float:
        """Return the most that any worker has of the resource *name*."""
        if name in self._given:
            return self._given[name]
        if name == "GPU":
            return float(max(map(len, self.gpus), default=0))
        return float(self._cores(0) if name == "CPU" else self._memory())

    def _cores(self, number: int) -> int:
        """Return the cores of a worker; a cluster has as many as it runs tasks at once."""
        threads = self._config.threads_per_worker
        if threads == 1 and self._config.processes and self._config.adapt is None:
            # So tasks with k cores run on the first 1 / k of the workers, and fill the cluster.
            return max(1, self.workers // (number + 1))
        return threads

    def _memory(self) -> int:
        """Return the bytes at which Dask would end a worker, or its share if there are none."""
        limit = self._config.memory_limit
        if not self._config.processes and limit is None:
            limit = 0
        if limit == "auto" or (limit is None and self._config.adapt is not None):
            return int(MEMORY_LIMIT * min(1, self._config.threads_per_worker / CPU_COUNT))
        if isinstance(limit, int) and limit:
            return min(limit, int(MEMORY_LIMIT))
        return int(MEMORY_LIMIT) // max(self.workers, 1)
