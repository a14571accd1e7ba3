"""What the scheduler says, and what that means for the jobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from distributed.scheduler import KilledWorker
from radical.asyncflow.backend import Report, TaskState
from radical.asyncflow.errors import BackendError, SerializationError, WorkerLostError
from radical.asyncflow.worker import Code, Failure

from ._packing.packer import Packer
from ._program.client import Listener
from ._program.fleet import Fleet
from ._program.jobs import Job
from ._program.ledger import Ledger
from ._program.scheduler_calls import Errands
from ._wire import CANCELLED, DIED, FAILED, INLINE, KEPT, RETURNED, RUNNING, SKIPPED, UNSENT

__all__ = ["News"]

_HEARD = 500  # messages after which the scheduler is asked to forget them


class News(Listener):
    """Hears the scheduler, and the workers by way of it, and keeps the ledger."""

    def __init__(
        self,
        topic: str,
        ledger: Ledger,
        fleet: Fleet,
        packer: Packer,
        errands: Errands,
        *,
        send_again: Callable[[Sequence[Job]], None],
        learned: Callable[[Code], None],
        gone: Callable[[str], None],
    ) -> None:
        """*send_again* is told of jobs that came back before they began.

        *learned* is told of each function of which a call has ended.

        *gone* is told why the scheduler is; the workers speak on *topic*.
        """
        self._topic = topic
        self._ledger = ledger
        self._fleet = fleet
        self._packer = packer
        self._errands = errands
        self._send_again = send_again
        self._learned = learned
        self._gone = gone
        self._heard = 0

    def on_event(self, topic: str, message: Any) -> None:
        if topic == self._topic:
            self._heard += 1
            if not self._heard % _HEARD:
                self._errands.run(self._errands.forget_events())
            if (events := message.get("events")) is not None:
                self._on_calls(message["worker"], events)
            elif DIED in message:
                self._on_death(message)
            return
        action = message.get("action") if isinstance(message, dict) else None
        if action == "update-graph":
            self._ledger.graphs.arrived(str(message.get("stimulus_id")))
        elif action == "add-worker":
            self._errands.run(self._errands.look_again())

    def _on_calls(self, worker: str, events: Iterable[Sequence[Any]]) -> None:
        reports: list[Report] = []
        returned: list[Job] = []
        for kind, task_id, attempt, seconds, data in events:
            job = self._ledger.jobs.get(task_id)
            if job is None or job.attempt != attempt or job.kept:
                continue
            if job.worker is None and kind not in (RETURNED, SKIPPED, UNSENT):
                # One that was too short to be told of began, too.
                reports.append(Report(task_id, attempt, TaskState.RUNNING, worker))
            if kind == RUNNING:
                job.worker = worker
            elif kind == INLINE:
                self._learn(job, seconds, bulky=False)
                reports.append(self._ledger.done(job, data))
            elif kind == KEPT:
                self._learn(job, seconds, bulky=True)
                job.worker, job.kept = worker, True
            elif kind == FAILED:
                self._learn(job, seconds, bulky=False)
                reports.append(self._ledger.report_failure(job, Failure(*data).rebuild()))
            elif kind == UNSENT:
                self._learn(job, seconds, bulky=False)
                reports.append(self._ledger.report_failure(job, SerializationError(*data)))
            elif kind == SKIPPED:
                reports.append(self._ledger.report_failure(job, self._ledger.blame(job, data)))
            elif kind == CANCELLED:
                reports.append(self._ledger.over(job, TaskState.CANCELLED))
            elif kind == RETURNED and job.key == data:
                returned.append(job)
        self._ledger.report(reports)
        if returned:
            self._send_again(returned)

    def _learn(self, job: Job, seconds: float, *, bulky: bool) -> None:
        if job.code is not None:
            self._packer.learn(job.code, seconds, bulky=bulky, slots=self._fleet.slots)
            self._learned(job.code)

    def on_memory(self, key: str) -> None:
        reports = []
        for job in self._ledger.running(key):
            if job.kept and not job.is_command:
                reports.append(self._ledger.done(job, None))
            else:
                # A command's output is wanted here; of any other no news has come, as
                # when its worker lost the connection: what Dask has will tell.
                self._errands.run(self._settle(job, key))
        self._ledger.report(reports)

    async def _settle(self, job: Job, key: str) -> None:
        error: BaseException
        try:
            held = await self._ledger.fetcher.fetch(key)
            kept = held[job.index] if isinstance(held, list) else held
            if job.over or job.key != key:
                return
            if kept is None:
                self._send_again([job])
                return
            if kept.failed:
                raise BackendError("its failure was reported, but the report was lost")
            if job.is_command:
                self._ledger.report([self._ledger.over(job, TaskState.DONE, kept.get())])
            else:
                self._ledger.report([self._ledger.done(job, None)])
            return
        except Exception as exc:
            error = exc
        if not job.over:
            self._ledger.failed(job, error)

    def on_error(self, key: str, error: BaseException) -> None:
        for job in self._ledger.running(key):
            if isinstance(error, KilledWorker):
                self._ledger.failed(job, self._worker_lost(job, str(error.last_worker.address)))
            else:
                lost = BackendError(f"Dask could not run task {job.name!r}: {error}")
                lost.__cause__ = error
                self._ledger.failed(job, lost)

    def on_dropped(self, keys: Collection[str], reason: str) -> None:
        for key in keys:
            for job in self._ledger.running(key):
                error = BackendError(f"the Dask scheduler dropped task {job.name!r}: {reason}")
                self._ledger.failed(job, error)

    def on_gone(self, reason: str) -> None:
        self._gone(reason)

    def _on_death(self, message: Mapping[str, Any]) -> None:
        """A worker is gone; the scheduler has seen to it that nothing runs once too often."""
        address = message[DIED]
        charged = {(task, attempt): rest for task, attempt, *rest in message["charged"]}
        self._fleet.remove(address)
        for key in message["keys"]:
            for job in self._ledger.running(key):
                deaths, final = charged.get((job.task_id, job.attempt), (0, False))
                if job.ending:
                    self._ledger.cancelled(job)
                elif final:
                    times = f"the worker under it died {deaths} times" if deaths > 1 else ""
                    self._ledger.failed(job, self._worker_lost(job, address, times))
                elif job.worker == address:
                    job.worker = None
        for job in [
            job for job in self._ledger.jobs.values() if job.ending and job.worker == address
        ]:
            self._ledger.cancelled(job)

    def _worker_lost(self, job: Job, address: str, times: str = "") -> WorkerLostError:
        return WorkerLostError(job.name, address, None, job.attempt, times)
