"""The worker processes that have used GPUs, and keep what they have there for the next task.

A library such as CUDA reads once, when it starts, which GPUs its process sees, and it then
has a context and memory on each.  To start takes it seconds.  So such a worker runs only
tasks with the GPUs that it began with, and such a task gets an idle worker of these GPUs if
there is one.  The shares of all workers of a GPU, idle or not, never come to more than the
GPU: idle ones end to make room for a task.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from radical.asyncflow.worker import Gpu, GpuShares, reloads

from .._process.parent import WorkerProcess

__all__ = ["WarmWorkers"]

_WHOLE = 1000


class _Idle(NamedTuple):
    """An idle worker, what it has of its GPUs, and since when it is idle."""

    worker: WorkerProcess
    gpus: GpuShares
    since: float


class WarmWorkers:
    """The GPU workers of a backend; safe in any thread.

    Args:
        idle_timeout: seconds after which an idle one ends, and gives its memory back.
    """

    def __init__(self, idle_timeout: float) -> None:
        self._idle_timeout = idle_timeout
        self._lock = threading.Lock()
        self._idle: list[_Idle] = []  # the one that was used last is the last
        self._busy: Counter[Gpu] = Counter()  # thousandths
        self._timer: threading.Timer | None = None
        self._closed = False

    def idle(self) -> list[tuple[Gpu, ...]]:
        """Return the GPUs of each idle worker, the one that was used last first."""
        return [tuple(item.gpus) for item in reversed(self._idle)]

    def idle_share(self, gpu: Gpu) -> int:
        """Return how many thousandths of *gpu* idle workers have."""
        return sum(item.gpus.get(gpu, 0) for item in list(self._idle))

    def enter(self, gpus: GpuShares, *, wanted: bool) -> WorkerProcess | None:
        """Begin a task with *gpus*, of which it has so much; end the workers in its way.

        Returns:
            An idle worker for it, if it is *wanted* and there is one.
        """
        with self._lock:
            self._busy.update(gpus)
            worker = self._pop(gpus) if wanted else None
            ended: list[_Idle] = []
            for item in tuple(self._idle):  # the one that was used longest ago first
                if any(self._is_full(gpu) for gpu in item.gpus):
                    self._idle.remove(item)
                    ended.append(item)
        _end(item.worker for item in ended)
        return worker

    def _pop(self, gpus: GpuShares) -> WorkerProcess | None:
        for item in reversed(self._idle):
            if item.gpus.keys() == gpus.keys():
                self._idle.remove(item)
                return item.worker
        return None

    def _is_full(self, gpu: Gpu) -> bool:
        return self._busy[gpu] + self.idle_share(gpu) > _WHOLE

    def leave(self, gpus: GpuShares, worker: WorkerProcess | None) -> None:
        """End a task; keep *worker* for the next one, unless it is of no use any more."""
        with self._lock:
            self._busy.subtract(gpus)
            kept = (
                worker is not None
                and not (self._closed or worker.condemned)
                and worker.reloads == reloads()
                and self._idle_timeout > 0
            )
            if worker is not None and kept:
                self._idle.append(_Idle(worker, gpus, time.monotonic()))
                if self._timer is None:
                    self._set_timer(self._idle_timeout)
        if worker is not None and not kept:
            _end([worker])

    def close(self) -> None:
        """End all idle workers, and each other one when its task ends."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            timer = self._timer
        if timer is not None:
            timer.cancel()
            timer.join()
        _end(item.worker for item in idle)

    def _set_timer(self, seconds: float) -> None:
        if seconds > threading.TIMEOUT_MAX:
            return
        self._timer = threading.Timer(seconds, self._end_old)
        self._timer.daemon = True
        self._timer.start()

    def _end_old(self) -> None:
        """End those that have been idle for long; called by the timer."""
        with self._lock:
            oldest = time.monotonic() - self._idle_timeout
            old = [item for item in self._idle if item.since <= oldest]
            self._idle = self._idle[len(old) :]
        _end(item.worker for item in old)
        with self._lock:
            self._timer = None
            if self._idle:
                left = self._idle[0].since + self._idle_timeout - time.monotonic()
                self._set_timer(max(left, 0.0))


def _end(workers: Iterable[WorkerProcess]) -> None:
    for worker in workers:
        worker.close()
