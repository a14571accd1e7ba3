"""Handle the messages of the scheduler, and change the jobs accordingly.

This runs in the user's program, above `_program` and `_packing`, which it both imports.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from threading import Event
from typing import Any

from distributed.scheduler import KilledWorker
from radical.asyncflow.backend import Report, TaskId, TaskState
from radical.asyncflow.errors import (
    BackendError,
    DeathReason,
    SerializationError,
    WorkerLostError,
)
from radical.asyncflow.worker import Clocks, Code, Death, Failure, take_log

from ._messages.begins import CallTakenBackError
from ._messages.events import (
    CANCELLED,
    DONE_INLINE,
    DONE_REMOTE,
    FAILED,
    GIVEN_BACK,
    LOG,
    RUNNING,
    SERVING,
    SKIPPED,
    TRACE,
    UNSENDABLE,
    WORKER_DIED,
)
from ._packing.packer import Packer
from ._program.client import SchedulerListener
from ._program.graphs import GraphSender
from ._program.job_table import JobTable
from ._program.jobs import Job
from ._program.late_failures import AskForDeath, LateFailures
from ._program.scheduler_calls import SchedulerCalls
from ._program.values import Fetcher
from ._program.workers import KnownWorkers

__all__ = ["JobListener"]

_log = logging.getLogger("radical.asyncflow.dask")

_MESSAGES_KEPT = 500  # after which the scheduler is asked to forget those that it has sent


class JobListener(SchedulerListener):
    """Updates the jobs by what the scheduler says, and the workers through it.

    Attributes:
        begun_before: the calls, by task id and attempt, that began on a worker that died, or may
            have, and run again.
    """

    def __init__(
        self,
        topic: str,
        table: JobTable,
        workers: KnownWorkers,
        packer: Packer,
        calls: SchedulerCalls,
        fetcher: Fetcher,
        graphs: GraphSender,
        late: LateFailures,
        *,
        send_again: Callable[[Sequence[Job]], None],
        note_end: Callable[[Code], None],
        ask_for_death: Callable[[str, str], AskForDeath | None],
        on_no_worker: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        """Listen to *topic*, on which the workers speak.

        Args:
            send_again: takes jobs that were given back before they began.
            note_end: is called with the function of each call that has ended.
            ask_for_death: is called with the name of a worker that died and the address of its
                nanny, and returns what finds out why; None if nobody can be asked.
            on_no_worker: is called when the last worker is gone.
            on_lost: is called with the reason when the scheduler is lost.
        """
        self._topic = topic
        self._table = table
        self._workers = workers
        self._packer = packer
        self._calls = calls
        self._fetcher = fetcher
        self._graphs = graphs
        self._send_again = send_again
        self._note_end = note_end
        self._late = late
        self._ask_for_death = ask_for_death
        self._on_no_worker = on_no_worker
        self._on_lost = on_lost
        self._messages = 0
        self._clocks = Clocks()
        self._has_command_ended = False
        self.begun_before: set[tuple[TaskId, int]] = set()

    def on_event(self, topic: str, message: Any) -> None:
        if topic == self._topic:
            self._messages += 1
            if not self._messages % _MESSAGES_KEPT:
                self._calls.forget_events()
            if (events := message.get("events")) is not None:
                self._on_events(message["worker"], events, message.get("clock"))
            elif WORKER_DIED in message:
                self._on_death(message)
            return
        action = message.get("action") if isinstance(message, dict) else None
        if action == "update-graph":
            self._graphs.arrived(str(message.get("stimulus_id")))
        elif action == "add-worker":
            self._calls.look_for_workers()

    def on_memory(self, key: str) -> None:
        reports = []
        for job in self._table.jobs_of(key):
            if job.computed is not None and not job.is_command:
                reports.append(self._table.done_report(job, None, job.computed))
            else:
                # The output of a command is wanted here.  Of any other job the event is
                # missing, as when its worker lost the connection: what Dask has will tell.
                self._calls.run(self._settle(job, key))
        self._table.report(reports)

    def on_error(self, key: str, error: BaseException) -> None:
        if isinstance(error, CallTakenBackError):
            self._send_again([*self._table.jobs_of(key)])
            return
        for job in self._table.jobs_of(key):
            if isinstance(error, KilledWorker):
                self._table.fail(job, _worker_lost(job, str(error.last_worker.address)))
            else:
                lost = BackendError(f"Dask could not run task {job.name!r}: {error}")
                lost.__cause__ = error
                self._table.fail(job, lost)

    def on_dropped(self, keys: Collection[str], reason: str) -> None:
        for key in keys:
            for job in self._table.jobs_of(key):
                error = BackendError(f"the Dask scheduler dropped task {job.name!r}: {reason}")
                self._table.fail(job, error)

    def on_lost(self, reason: str) -> None:
        self._on_lost(reason)

    def _on_events(
        self,
        worker: str,
        events: Mapping[str, Iterable[Sequence[Any]]],
        clock: tuple[str, float] | None,
    ) -> None:
        reports: list[Report] = []
        given_back: list[Job] = []
        offset = 0.0 if clock is None else self._clocks.offset(*clock)
        for key, (kind, task_id, attempt, seconds, data, *rest) in _each(events):
            if kind == LOG:
                take_log(pickle.loads(data))
                continue
            job = self._table.jobs.get(task_id)
            if job is None or job.attempt != attempt or job.computed is not None:
                continue
            if kind == TRACE:
                self._table.tell_trace(job, *data)
                continue
            if kind == GIVEN_BACK:
                if job.key == key:
                    given_back.append(job)
                continue
            moment = rest[0] + offset
            if kind not in (SKIPPED, UNSENDABLE) and (job.worker is None or seconds):
                # Also for a call that was too short to be reported as running, and again at the
                # end of one that was: from when it was confirmed to its begin takes a while.
                begun = moment - seconds
                reports.append(Report(task_id, attempt, TaskState.RUNNING, worker, begun))
            if kind in (RUNNING, SERVING):
                begins, job.worker = job.worker is None, worker
                if begins and job.request.spec.service:
                    self._note_service(job)
            if kind == RUNNING:
                continue
            if kind == SERVING:
                self._table.report(reports)
                reports = []
                self._table.tell_serving(job, data)
                continue
            if kind == SKIPPED and self._late.follow(job, data, moment):
                continue
            if kind not in (SKIPPED, CANCELLED):
                self._learn(job, seconds, is_large=kind == DONE_REMOTE)
            if kind == DONE_REMOTE:
                job.worker, job.computed = worker, moment
            else:
                reports.append(self._end_report(job, kind, data, moment))
        self._table.report(reports)
        if given_back:
            self._send_again(given_back)

    def _note_service(self, begun: Job) -> None:
        """Warn if no slot is left beside those that services have; *begun* is the latest one."""
        slots = self._workers.slots
        specs = [job.request.spec for job in self._table.jobs.values() if job.worker is not None]
        taken = sum(spec.resources.total_cores for spec in specs if spec.service)
        if taken >= slots:
            _log.warning(
                "services have all %d slots that the workers of the cluster have now, the latest "
                "one is %r: no other task runs until one of them is stopped, or there are more "
                "workers",
                *(slots, begun.name),
            )

    def _end_report(self, job: Job, kind: int, data: Any, when: float) -> Report:
        """Return the terminal report of *job* for an event of this *kind*."""
        table = self._table
        if kind == DONE_INLINE:
            return table.done_report(job, data, when)
        if kind == FAILED:
            return table.failed_report(job, Failure(*data).rebuild(), when)
        if kind == UNSENDABLE:
            return table.failed_report(job, SerializationError(*data), when)
        if kind == SKIPPED:
            return table.failed_report(job, table.dependency_error(job, data), when)
        assert kind == CANCELLED, f"an event of kind {kind}"
        return table.final_report(job, TaskState.CANCELLED, None, when)

    def _learn(self, job: Job, seconds: float, *, is_large: bool) -> None:
        if job.code is not None:
            self._packer.learn(job.code, seconds, is_large=is_large, slots=self._workers.slots)
            self._note_end(job.code)
        else:
            self._has_command_ended = True

    async def _settle(self, job: Job, key: str) -> None:
        """End *job* by what Dask holds under *key*."""
        table = self._table
        error: BaseException
        try:
            held = await self._fetcher.fetch(key)
            result = held[job.index] if isinstance(held, list) else held
            if job.ended or job.key != key:
                return
            if result is None:
                self._send_again([job])
                return
            if result.failed:
                raise BackendError("its failure was reported, but the report was lost")
            if job.is_command:
                table.report([table.final_report(job, TaskState.DONE, result.get(), job.computed)])
            else:
                table.report([table.done_report(job, None, job.computed)])
            return
        except Exception as exc:
            error = exc
        if not job.ended:
            table.fail(job, error)

    def _on_death(self, message: Mapping[str, Any]) -> None:
        """Handle the death of a worker; the scheduler has decided what runs again."""
        address = message[WORKER_DIED]
        charged = {(task_id, attempt): rest for task_id, attempt, *rest in message["charged"]}
        self._workers.remove(address)
        final: list[Job] = []
        for key in message["keys"]:
            for job in self._table.jobs_of(key):
                deaths, is_final = charged.get((job.task_id, job.attempt), (0, False))
                if job.cancelling:
                    self._table.cancel(job)
                elif is_final:
                    final.append(job)
                else:
                    if deaths or self._may_have_begun(job, message):
                        self.begun_before.add((job.task_id, job.attempt))
                    if job.worker == address:
                        job.worker = None
        self._fail_with(message, final, charged)
        left = [
            job for job in self._table.jobs.values() if job.cancelling and job.worker == address
        ]
        for job in left:
            self._table.cancel(job)
        if not self._workers.slots:
            self._on_no_worker()

    def _may_have_begun(self, job: Job, message: Mapping[str, Any]) -> bool:
        """Tell whether *job* may have begun on a worker that died.

        A function that has not returned before is reported before it begins.
        """
        if job.worker == message[WORKER_DIED]:
            return True
        is_known = self._has_command_ended if job.code is None else job.code.seconds is not None
        return is_known and not message["is_exact"]

    def _fail_with(
        self,
        message: Mapping[str, Any],
        jobs: Sequence[Job],
        charged: Mapping[tuple[TaskId, int], Sequence[Any]],
    ) -> None:
        """Report that *jobs* failed with the worker that died, at once if the cause is known."""
        told = Death(DeathReason(message["reason"]), message["evidence"])
        address = message[WORKER_DIED]

        def error(job: Job, death: Death) -> WorkerLostError:
            deaths = charged[job.task_id, job.attempt][0]
            times = f"the worker under it died {deaths} times" if deaths > 1 else ""
            detail = "; ".join(filter(None, (times, death.evidence)))
            return _worker_lost(job, address, detail, message["signal"], death.reason)

        ask = None
        if told.reason is DeathReason.UNKNOWN and not message["expected"]:
            ask = self._ask_for_death(message["name"], message["nanny"])
        if ask is None:
            for job in jobs:
                self._table.fail(job, error(job, told))
        else:
            self._late.hold(jobs, partial(_ask_and_tell, ask, address), error)


def _ask_and_tell(ask: AskForDeath, address: str, hurry: Event) -> Death:
    """Ask why the worker at *address* died, and log it: what it ran may run again elsewhere."""
    death = ask(hurry)
    _log.warning("worker %s is lost: %s", address, death.evidence or "nothing tells why")
    return death


def _each(events: Mapping[str, Iterable[Sequence[Any]]]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield each event with the key of its Dask task."""
    return ((key, event) for key, of_key in events.items() for event in of_key)


def _worker_lost(
    job: Job,
    address: str,
    detail: str = "",
    signal: int | None = None,
    reason: DeathReason = DeathReason.UNKNOWN,
) -> WorkerLostError:
    return WorkerLostError(job.name, address, signal, job.attempt, detail, reason)
