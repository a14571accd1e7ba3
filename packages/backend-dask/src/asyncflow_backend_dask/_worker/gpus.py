"""Choose the GPUs of a worker that a call sees; Dask itself only counts them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from radical.asyncflow.worker import (
    FreeGpus,
    Gpu,
    GpuShares,
    found_gpus,
    set_visible_gpus,
    visible_gpus,
)

__all__ = ["LOCAL_CLUSTER_VARIABLE", "OWN_GPUS_VARIABLE", "WorkerGpus"]

LOCAL_CLUSTER_VARIABLE = "ASYNCFLOW_DASK_HOSTED"
"""Set in the environment of the workers of a local cluster."""

OWN_GPUS_VARIABLE = "ASYNCFLOW_DASK_GPUS"
"""The name of the variable with the worker's own GPUs, for workers of a local cluster."""


class WorkerGpus:
    """The GPUs of one worker, by id, and what of them is free; safe in any thread.

    The worker's ``GPU`` resource says how many it has.  On a local cluster they are those that
    the worker was started with; elsewhere the first that its process may use, or the numbers
    from 0 on where nothing says which those are.  Where there are none, each call sees what
    its worker sees.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._changed = threading.Condition()
        # Several threads would share the environment: there only `current_task().gpus` tells.
        self._sets_environment = worker.state.nthreads == 1 and worker.nanny is not None

    @cached_property
    def _found(self) -> tuple[FreeGpus, str]:
        """The free GPUs, and the variable by which a process sees them."""
        worker = self._worker
        amount = worker.state.total_resources.get("GPU", 0)
        if variable := os.environ.get(OWN_GPUS_VARIABLE):
            return FreeGpus(visible_gpus(variable)), variable
        found = found_gpus()
        count = 1 if 0 < amount < 1 else int(amount)
        # Workers in one program share its GPUs.
        first = int(worker.name) * count if worker.address.startswith("inproc://") else 0
        ids = found.ids if found.is_known else tuple(range(first + count))
        return FreeGpus(ids[first:][:count]), found.variable

    @contextmanager
    def take(self, gpus: float) -> Iterator[tuple[Gpu, ...]]:
        """Do as `take_shares`, and yield the ids of the GPUs."""
        with self.take_shares(gpus) as taken:
            yield tuple(taken)

    @contextmanager
    def take_shares(self, gpus: float, ranks: int = 1) -> Iterator[GpuShares]:
        """Take *gpus* for each of *ranks* for a while; wait until parts are free.

        A worker process with one thread sees these alone meanwhile.

        Raises:
            RuntimeError: there are fewer than the worker's resources say.
        """
        if not gpus:
            yield {}
            return
        with self._changed:
            free, variable = self._found
        if not free.could_fit(1):
            yield {}
            return
        with self._changed:
            if not free.could_fit(gpus, ranks):
                raise RuntimeError(
                    f"the task asks for {gpus * ranks} GPUs and its worker has fewer: the "
                    "worker's GPU resource is larger than the number of GPUs that it may use "
                    f"({found_gpus().how}); make the two agree"
                )
            while (taken := free.take(gpus, ranks)) is None:
                self._changed.wait()
        ids = tuple(taken)
        before = os.environ.get(variable)
        if self._sets_environment:
            set_visible_gpus(ids, None, variable)
        try:
            yield taken
        finally:
            if self._sets_environment:
                set_visible_gpus((), before, variable)
            with self._changed:
                free.give_back(taken)
                self._changed.notify_all()
