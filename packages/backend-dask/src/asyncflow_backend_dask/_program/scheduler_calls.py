"""What is said to the scheduler and its workers, beside the tasks themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from radical.asyncflow.backend import TaskId

from .._wire import CONDEMNED, LOOSENED
from .._worker import run as _remote
from .client import GraphClient
from .fleet import Fleet
from .jobs import Job

__all__ = ["Errands"]

_Id = tuple[TaskId, int]
_ENDING = 3.0  # seconds for what is said last


class Errands:
    """Small messages for which nobody waits.

    Attributes:
        client: set once there is a connection.
    """

    def __init__(self, fleet: Fleet, topic: str) -> None:
        self.client: GraphClient | None = None
        self._fleet = fleet
        self._topic = topic
        self._stopping: dict[str | None, list[_Id]] = {}
        self._doomed: set[_Id] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self, job: Job, *, kill: bool = False) -> None:
        """Tell the workers, in one message for all that are stopped in this turn.

        With *kill* it is ended with its process if it turns out to run.
        """
        if not self._stopping:
            asyncio.get_running_loop().call_soon(self._send_stops)
        one = job.task_id, job.attempt
        self._stopping.setdefault(job.worker, []).append(one)
        if kill:
            self._doomed.add(one)

    def _send_stops(self) -> None:
        stopping, self._stopping = self._stopping, {}
        doomed, self._doomed = self._doomed, set()
        for worker, attempts in stopping.items():
            workers = None if worker is None else [worker]
            self.run(self._stop(workers, attempts, doomed.intersection(attempts)))

    async def _stop(
        self, workers: list[str] | None, attempts: list[_Id], doomed: Collection[_Id]
    ) -> None:
        client = self.client
        if client is None or client.status != "running":
            return
        # A worker that is gone has nothing left to be told.
        with suppress(OSError):
            running = await client._run(
                _remote.cancel, self._topic, attempts, workers=workers, on_error="ignore"
            )
            for worker, there in running.items():
                if found := [tuple(one) for one in there if tuple(one) in doomed]:
                    await self.kill(found, worker)

    async def kill(self, attempts: Sequence[_Id], worker: str) -> None:
        """End these with their process, which the nanny of *worker* starts anew."""
        client = self.client
        if client is not None and client.status == "running" and worker in self._fleet:
            # The scheduler ends the worker: Dask would run them once more, elsewhere.
            message = {CONDEMNED: list(attempts), "worker": worker}
            with suppress(OSError):
                await client.scheduler.log_event(topic=self._topic, msg=message)

    async def loosen(self, attempts: Mapping[str, Sequence[_Id]]) -> None:
        """Have these given back by the scheduler, as far as their Dask tasks still wait."""
        client = self.client
        if client is not None and client.status == "running":
            with suppress(OSError):
                await client.scheduler.log_event(topic=self._topic, msg={LOOSENED: attempts})

    async def forget_events(self) -> None:
        """Have the scheduler forget our events, of which it would keep 100,000."""
        client = self.client
        if client is not None and client.status == "running":
            with suppress(Exception):  # a scheduler may refuse to run functions
                await client._run_on_scheduler(_remote.forget_events, self._topic)

    async def look(self) -> None:
        """See which workers there are."""
        assert self.client is not None
        self._fleet.update(await self.client.scheduler.identity(n_workers=-1))

    async def look_again(self) -> None:
        with suppress(OSError):
            await self.look()

    async def end(self) -> None:
        """Messages to workers of somebody else's go out; nothing waits for long."""
        if self._stopping:
            self._send_stops()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_ENDING)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
