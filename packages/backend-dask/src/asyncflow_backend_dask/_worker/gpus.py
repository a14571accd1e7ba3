"""Which of a worker's GPUs a call sees; Dask itself only counts them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["HOSTED", "Gpus"]

HOSTED = "ASYNCFLOW_DASK_HOSTED"
"""Set in the environment of workers that share the GPUs of one machine by their numbers."""

_VISIBLE = "CUDA_VISIBLE_DEVICES"


class Gpus:
    """The GPUs of one worker, by id, and which of them are free; for any thread.

    They are as many as its ``GPU`` resource says: of those that ``CUDA_VISIBLE_DEVICES``
    names by number, or from 0 on.  Where it names them in another way, calls see what
    their worker sees.
    """

    def __init__(self, worker: Any) -> None:
        count = int(worker.state.total_resources.get("GPU", 0))
        visible = os.environ.get(_VISIBLE, "")
        names = [name.strip() for name in visible.split(",") if name.strip()]
        # Workers of the backend's own are numbered, and see all GPUs of the machine.
        first = int(worker.name) * count if HOSTED in os.environ else 0
        if not visible:
            self._free = list(range(first, first + count))
        elif all(name.isdigit() for name in names):
            self._free = [int(name) for name in names[first : first + count]]
        else:
            self._free = []
        self._known = bool(self._free)
        self._lock = threading.Lock()
        # Threads share an environment: there `current_task().gpus` tells.
        self._alone = worker.state.nthreads == 1 and worker.nanny is not None

    @contextmanager
    def take(self, count: int) -> Iterator[tuple[int, ...]]:
        """So many of them for a while, which this process alone sees if it has one thread.

        Raises:
            RuntimeError: there are fewer than the worker's resources say.
        """
        if not count or not self._known:
            yield ()
            return
        with self._lock:
            if count > len(self._free):
                raise RuntimeError(
                    f"the worker's GPU resource promises more GPUs than {_VISIBLE} names: "
                    f"{count} are asked for, {len(self._free)} are free"
                )
            taken, self._free = tuple(self._free[:count]), self._free[count:]
        before = os.environ.get(_VISIBLE)
        if self._alone:
            os.environ[_VISIBLE] = ",".join(map(str, taken))
        try:
            yield taken
        finally:
            if self._alone:
                if before is None:
                    del os.environ[_VISIBLE]
                else:
                    os.environ[_VISIBLE] = before
            with self._lock:
                # Lowest first, so that a process that has used one meets it again.
                self._free = sorted((*self._free, *taken))
