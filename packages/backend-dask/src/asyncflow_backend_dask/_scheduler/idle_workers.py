"""Give idle workers the Dask tasks that wait behind others.

Each thread of a worker has a second Dask task at hand, so that it never waits for the next one.
When nothing is left to send, such a task may wait behind a long one while another worker has
nothing to do.  Dask moves tasks by itself, but looks for them ten times a second, and leaves
those alone that it takes to be short.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Any

from dask._task_spec import Task
from distributed import SchedulerPlugin

from .._worker.run import run

__all__ = ["IdleWorkers"]

_LOOK_DELAY_S = 0.003  # in which what was just sent, or ended, becomes known
_NEXT_LOOK_S = 0.03  # while tasks are asked back, some of which may have begun already


class IdleWorkers(SchedulerPlugin):  # type: ignore[misc]
    """The scheduler's plugin that moves Dask tasks of this backend to idle workers.

    It moves tasks without dependencies that may run anywhere: all others are where their
    inputs are, or where they have to be.  It is removed together with *client*.
    """

    def __init__(self, name: str, client: str) -> None:
        self.name = name
        self._client = client
        self._asked: dict[Any, str] = {}  # by key the worker that was asked for the task
        self._timer: asyncio.TimerHandle | None = None
        self._is_soon = False  # whether the timer is for what was just sent, or ended

    async def start(self, scheduler: Any) -> None:
        self._scheduler = scheduler

    def remove_client(self, scheduler: Any, client: str) -> None:
        if client == self._client:
            scheduler.plugins.pop(self.name, None)
            if self._timer is not None:
                self._timer.cancel()

    def add_worker(self, scheduler: Any, worker: str) -> None:  # noqa: ARG002
        self._look_soon()

    def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:  # noqa: ARG002
        if start == "processing":
            self._asked.pop(key, None)
            if not self._is_soon and not self._scheduler.queued:
                self._look_soon()

    def _look_soon(self) -> None:
        """Look in a moment, even if a later look was planned: another worker may be idle now."""
        if not self._is_soon:
            self._is_soon = True
            self._look_in(_LOOK_DELAY_S)

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        self._is_soon = False
        stealing = self._scheduler.extensions.get("stealing")
        if stealing is None or self._scheduler.queued:
            return
        self._ask(stealing)
        if stealing.in_flight:
            self._look_in(_NEXT_LOOK_S)

    def _ask(self, stealing: Any) -> None:
        """Ask workers that have more to do than they can for what idle ones can do."""
        scheduler = self._scheduler
        coming = stealing.in_flight_tasks  # tasks that are being moved, less those moved away
        thieves = [
            worker
            for worker in scheduler.running
            for _ in range(worker.nthreads - len(worker.processing) - coming.get(worker, 0))
        ]
        if not thieves:
            return
        busy = [
            (worker.nthreads - len(worker.processing) - coming.get(worker, 0), place, worker)
            for place, worker in enumerate(scheduler.workers.values())
        ]
        heapq.heapify(busy)
        while thieves and busy and busy[0][0] < 0:
            surplus, place, victim = busy[0]
            task = self._last_movable(victim, stealing)
            if task is None:
                heapq.heappop(busy)
                continue
            self._asked[task.key] = victim.address
            stealing.move_task_request(task, victim, thieves.pop())
            heapq.heapreplace(busy, (surplus + 1, place, victim))

    def _last_movable(self, worker: Any, stealing: Any) -> Any:
        """Return the Dask task that *worker* would begin last, of those that may be moved.

        None means that there is none.  A task that the worker was asked for, and kept, runs.
        """
        movable = [
            task
            for task in worker.processing
            if task not in stealing.in_flight
            and self._asked.get(task.key) != worker.address
            and isinstance(task.run_spec, Task)
            and task.run_spec.func is run
            and not (task.dependencies or task.actor)
            and not (task.worker_restrictions or task.host_restrictions)
            and not task.resource_restrictions
        ]
        return max(movable, key=lambda task: task.priority, default=None)
