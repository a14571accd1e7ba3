"""Choose the GPUs of a worker that a call sees; Dask itself only counts them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from radical.asyncflow.worker import GPU_VARIABLE, FreeGpus, Gpu, set_visible_gpus, visible_gpus

__all__ = ["LOCAL_CLUSTER_VARIABLE", "WorkerGpus"]

LOCAL_CLUSTER_VARIABLE = "ASYNCFLOW_DASK_HOSTED"
"""Set in the environment of the workers of a local cluster.

Such workers share the GPUs of one machine, and their names are numbers from 0 on.
"""


class WorkerGpus:
    """The GPUs of one worker, by id, and which of them are free; safe in any thread.

    The worker's ``GPU`` resource says how many it has.  They are those that
    ``CUDA_VISIBLE_DEVICES`` names, or the numbers from 0 on where that is not set.  Where it
    names none, each call sees what its worker sees.
    """

    def __init__(self, worker: Any) -> None:
        count = int(worker.state.total_resources.get("GPU", 0))
        # Workers of a local cluster all see all GPUs of the machine.
        first = int(worker.name) * count if LOCAL_CLUSTER_VARIABLE in os.environ else 0
        ids: Sequence[Gpu] = range(first, first + count)
        if GPU_VARIABLE in os.environ:
            ids = visible_gpus()[first : first + count]
        self._are_known = bool(ids)
        self._free = FreeGpus(ids)
        self._lock = threading.Lock()
        # Several threads would share the environment: there only `current_task().gpus` tells.
        self._sets_environment = worker.state.nthreads == 1 and worker.nanny is not None

    @contextmanager
    def take(self, count: int) -> Iterator[tuple[Gpu, ...]]:
        """Take *count* GPUs for a while and yield their ids.

        A worker process with one thread sees these alone meanwhile.

        Raises:
            RuntimeError: there are fewer than the worker's resources say.
        """
        if not count or not self._are_known:
            yield ()
            return
        with self._lock:
            if count > len(self._free):
                raise RuntimeError(
                    f"the task asks for {count} GPUs and only {len(self._free)} are free: the "
                    f"worker's GPU resource is larger than the number of GPUs in {GPU_VARIABLE}; "
                    "make the two agree"
                )
            taken = self._free.take(count)
        before = os.environ.get(GPU_VARIABLE)
        if self._sets_environment:
            set_visible_gpus(taken, None)
        try:
            yield taken
        finally:
            if self._sets_environment:
                set_visible_gpus((), before)
            with self._lock:
                self._free.give_back(taken)
