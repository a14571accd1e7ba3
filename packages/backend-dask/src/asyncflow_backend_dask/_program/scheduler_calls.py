"""The calls of the program to the scheduler and its workers, beside the tasks themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from radical.asyncflow.backend import TaskId, Written

from .._messages.events import GIVE_BACK, KILL
from .._scheduler.event_log import forget_events
from .._worker.requests import cancel, end_ranks, written
from .client import GraphClient
from .jobs import Job
from .workers import KnownWorkers

__all__ = ["SchedulerCalls"]

_Attempt = tuple[TaskId, int]
"""Task id and attempt."""

_LAST_CALLS_TIMEOUT_S = 3.0  # for calls that still run when the backend ends


class SchedulerCalls:
    """Small messages to the scheduler and the workers, for which nobody waits."""

    def __init__(self, client: GraphClient, workers: KnownWorkers, topic: str) -> None:
        self._client = client
        self._workers = workers
        self._topic = topic
        self._to_cancel: dict[str | None, list[_Attempt]] = {}
        self._to_kill: set[_Attempt] = set()
        self._running: set[asyncio.Task[None]] = set()

    def run(self, call: Coroutine[Any, Any, None]) -> None:
        """Run *call* beside everything else."""
        task = asyncio.get_running_loop().create_task(call)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def cancel(self, job: Job, *, kill: bool = False) -> None:
        """Tell the workers to cancel *job*: one message for all jobs of this turn of the loop.

        With *kill* its worker process is ended if the job turns out to run.
        """
        if not self._to_cancel:
            asyncio.get_running_loop().call_soon(self._send_cancels)
        one = job.task_id, job.attempt
        self._to_cancel.setdefault(job.worker, []).append(one)
        if kill:
            self._to_kill.add(one)

    def kill(self, job: Job) -> None:
        """End *job*, which runs, with its worker process; the nanny starts another."""
        assert job.worker is not None
        self.run(self._kill([(job.task_id, job.attempt)], job.worker))

    def ask_back(self, attempts: Mapping[str, Sequence[_Attempt]]) -> None:
        """Have the scheduler give back these calls, by key, of Dask tasks that still wait."""
        self.run(self._log_event({GIVE_BACK: attempts}))

    def forget_events(self) -> None:
        """Have the scheduler forget our events, of which it would keep 100,000."""
        self.run(self._forget_events())

    def look_for_workers(self) -> None:
        """Have the known workers updated soon."""
        self.run(self._update_workers_if_possible())

    async def update_workers(self) -> None:
        """Ask the scheduler which workers there are.

        Raises:
            OSError: it cannot be asked.
        """
        self._workers.update(await self._client.scheduler.identity(n_workers=-1))

    async def written(self, jobs: Iterable[Job]) -> dict[TaskId, Written]:
        """Ask the workers what those of *jobs* have written so far that are commands and run."""
        attempts = [(job.task_id, job.attempt) for job in jobs if job.worker is not None]
        workers = {job.worker for job in jobs if job.worker is not None}
        found: dict[TaskId, Written] = {}
        if attempts and self._client.is_running:
            with suppress(OSError):  # on a worker that is gone nothing runs
                answers = await self._client._run(
                    written, self._topic, attempts, workers=sorted(workers), on_error="ignore"
                )
                for answer in answers.values():
                    for task_id, stdout, stderr, before in answer:
                        found[task_id] = Written(_stream(stdout), _stream(stderr), tuple(before))
        return found

    async def end_ranks(self) -> None:
        """Have the workers end the ranks that wait for a call; some seconds at the most."""
        if self._client.is_running:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_LAST_CALLS_TIMEOUT_S):
                    await self._client._run(end_ranks, on_error="ignore")

    async def end(self) -> None:
        """Send what is left to send, and wait a few seconds at the most for all calls."""
        if self._to_cancel:
            self._send_cancels()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=_LAST_CALLS_TIMEOUT_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _send_cancels(self) -> None:
        to_cancel, self._to_cancel = self._to_cancel, {}
        to_kill, self._to_kill = self._to_kill, set()
        for worker, attempts in to_cancel.items():
            addresses = None if worker is None else [worker]
            self.run(self._cancel(addresses, attempts, to_kill.intersection(attempts)))

    async def _cancel(
        self, addresses: list[str] | None, attempts: list[_Attempt], to_kill: Collection[_Attempt]
    ) -> None:
        if not self._client.is_running:
            return
        with suppress(OSError):  # on a worker that is gone there is nothing to cancel
            answers = await self._client._run(
                cancel, self._topic, attempts, workers=addresses, on_error="ignore"
            )
            for worker, running in answers.items():
                if found := [tuple(one) for one in running if tuple(one) in to_kill]:
                    await self._kill(found, worker)

    async def _kill(self, attempts: Sequence[_Attempt], worker: str) -> None:
        # By way of the scheduler: otherwise Dask would run them once more, elsewhere.
        if worker in self._workers:
            await self._log_event({KILL: list(attempts), "worker": worker})

    async def _log_event(self, message: Mapping[str, Any]) -> None:
        if self._client.is_running:
            with suppress(OSError):
                await self._client.scheduler.log_event(topic=self._topic, msg=message)

    async def _forget_events(self) -> None:
        if self._client.is_running:
            with suppress(Exception):  # a scheduler may refuse to run functions
                await self._client._run_on_scheduler(forget_events, self._topic)

    async def _update_workers_if_possible(self) -> None:
        with suppress(OSError):
            await self.update_workers()


def _stream(given: str | Sequence[str]) -> str | tuple[str, ...]:
    return given if isinstance(given, str) else tuple(given)
