"""The use of one scheduler: the connection, and the jobs that run there.

Runs in the user's program, above all other rooms, which it puts together.
"""

from __future__ import annotations

import asyncio
import pickle
import re
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import dask
from dask.utils import parse_timedelta
from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import ReportSink, TaskId, TaskKind, TaskRequest
from radical.asyncflow.errors import BackendLostError, BackendStartError
from radical.asyncflow.model import DEFAULT_RESOURCES
from radical.asyncflow.worker import LastAnswer, LogSetup, job_state, log_setup, safe_str

from ._cluster.batch_jobs import find_batch_jobs, is_job_queue
from ._cluster.job_watch import JobWatch
from ._cluster.lease import Lease
from ._listener import JobListener
from ._messages.orders import TraceOrder
from ._packing.grouper import Grouper
from ._packing.packer import Packer
from ._packing.shared_inputs import SharedInputs
from ._program.client import GraphClient
from ._program.dask_tasks import DaskTaskWriter, NoResultError
from ._program.graphs import GraphSender
from ._program.job_table import JobTable
from ._program.jobs import Job, annotations_of
from ._program.late_failures import AskForDeath, LateFailures
from ._program.scheduler_calls import SchedulerCalls
from ._program.values import Fetcher
from ._program.workers import KnownWorkers
from ._scheduler.idle_workers import IdleWorkers
from ._scheduler.lost_workers import LostWorkers
from ._worker.call_file import BegunCalls
from ._worker.requests import greet
from .config import DaskConfig

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait, Written

__all__ = ["Session"]

_FIRST_WORKER_POLL_S = 0.05  # between two looks for a first worker
_COMMANDS_TIMEOUT_S = 3.0  # beyond the grace, for running commands to end at the end
_MOST_JOBS_ASKED = 3  # for why tasks wait
_FIRST_LOOK_S = 2.0  # for jobs that can still bring a worker, when the last one is gone
_LAST_LOOK_S = 30.0
_LOOK_GROWTH = 1.5
_REPLACEMENT_S = 10.0  # for a cluster that follows the load to submit a job in place of a lost one
_NO_ANNOTATIONS: dict[str, Any] = {}


class Session:
    """The use of one scheduler, from the connection to its end."""

    def __init__(
        self,
        name: str,
        config: DaskConfig,
        lease: Lease,
        sink: ReportSink,
        *,
        kills_running: Collection[TaskKind],
        counts_cores: bool,
    ) -> None:
        """Prepare a connection to the scheduler of *lease*.

        Args:
            name: the name of the backend.
            sink: where the ends of tasks are reported.
            kills_running: the kinds of tasks that are ended while they run.
            counts_cores: whether every task takes its share of the workers' CPU resource, if
                they have one; else only tasks with more than one core do.
        """
        self._name = name
        self._config = config
        self._address = lease.address
        self._kills_running = kills_running
        self._counts_cores = counts_cores
        self._lease = lease
        self._lost: BackendLostError | None = None
        self._has_told_loss = False
        self._late: list[TaskId] = []  # came when the loss was known, and not told
        self._is_ended = False
        self._uses_ranks = False
        self._jobs_told = LastAnswer(self._ask_for_jobs)
        self._jobs = JobWatch(lease.cluster) if is_job_queue(type(lease.cluster)) else None
        self._is_looking = False
        self._is_over = asyncio.Event()
        self._topic = topic = f"asyncflow-{sink.uid}-{secrets.token_hex(4)}"
        uid = re.sub(r"[^\w]", "", topic)[-8:]
        self._client = _client_for(name, config, lease)
        writer = DaskTaskWriter(
            topic,
            uid,
            work_dir=sink.work_dir,
            changed_path=lease.changed_path,
            grace=config.grace,
            launcher=config.mpi_launcher,
            allowed_failures=config.allowed_failures,
            traces=TraceOrder(
                pickle.dumps(_log_setup(), 5) if config.forward_logs else None,
                sink.keeps_output,
                sink.keeps_usage,
            ),
        )
        self._graphs = GraphSender(self._client, writer, uid)
        self._fetcher = Fetcher(self._client, direct=lease.direct)
        self._table = table = JobTable(sink, self._graphs, self._fetcher)
        self._workers = workers = KnownWorkers(config.resource_patience, table.fail)
        self._calls = SchedulerCalls(self._client, workers, topic)
        self._late_failures = LateFailures(table, self._calls)
        self._packer = Packer(self._send)
        self._shared_inputs = SharedInputs(table, self._calls.ask_back)
        self._grouper = Grouper(
            table, writer, self._packer, workers, self._annotations, self._send, pack=config.pack
        )
        self._listener = JobListener(
            topic,
            table,
            workers,
            self._packer,
            self._calls,
            self._fetcher,
            self._graphs,
            self._late_failures,
            send_again=self._send_again,
            note_end=self._grouper.note_end,
            ask_for_death=self._ask_for_death,
            on_no_worker=self._look_for_jobs,
            on_lost=self._on_lost,
        )

    @property
    def is_connected(self) -> bool:
        """True while the connection is open."""
        return self._client.is_running

    # ----------------------------------------------------------------- connect

    async def connect(self) -> None:
        """Connect, and return when there is a worker, or when none is needed yet.

        Raises:
            OSError: there is no scheduler, or it refuses the connection.
            BackendStartError: it cannot serve this backend.
        """
        config = self._config
        await self._client.connect(self._listener, config.startup_timeout)
        self._client.subscribe(self._topic, "all", self._client.id)
        await self._install_plugins()
        await self._calls.update_workers()
        while not self._workers.slots and not self._may_be_empty():
            await asyncio.sleep(_FIRST_WORKER_POLL_S)
            await self._calls.update_workers()
        if config.kill_running and (alone := self._workers.without_nanny):
            raise BackendStartError(
                "with kill_running=True nannies restart the workers, and "
                f"{', '.join(sorted(alone)[:5])} have none; start them with a nanny, or leave "
                "kill_running out"
            )
        await self._greet_workers()
        self._client.watch_scheduler(config.silence)
        if not self._workers.slots:
            self._look_for_jobs()

    async def _install_plugins(self) -> None:
        """Have the scheduler decide by our rules what runs again, and what idle workers get."""
        topic, client = self._topic, self._client
        try:
            await asyncio.gather(
                client.register_plugin(LostWorkers(topic, client.id)),
                client.register_plugin(IdleWorkers(f"{topic}-idle", client.id)),
            )
        except Exception as exc:
            raise BackendStartError(
                f"the scheduler cannot serve this backend ({safe_str(exc)}); install "
                "asyncflow-backend-dask of the same version where the scheduler and the workers "
                "run, and leave distributed.scheduler.pickle on"
            ) from exc

    def _may_be_empty(self) -> bool:
        """Return whether a cluster without a worker is right, because it grows with the load."""
        adapt = self._config.adapt
        return self._config.n_workers == 0 or (adapt is not None and adapt.may_be_empty)

    @property
    def capacity(self) -> int:
        """The number of threads of all workers, as they were seen last."""
        return self._workers.slots

    async def _greet_workers(self) -> None:
        """Make sure that this package is on the workers, before a task needs it."""
        answers = await self._client._run(greet, on_error="return")
        errors = [answer for answer in answers.values() if isinstance(answer, Exception)]
        if errors and len(errors) == len(answers):
            raise BackendStartError(
                f"the workers cannot run tasks of this backend ({type(errors[0]).__name__}: "
                f"{errors[0]}); install asyncflow-backend-dask of the same version where the "
                "scheduler and the workers run"
            ) from errors[0]

    # ------------------------------------------------------------------ submit

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Take the tasks of *batch*.

        Raises:
            BackendLostError: the scheduler is lost.
        """
        if self._lost is not None:
            if self._has_told_loss:
                raise self._lost
            self._late += [request.task_id for request in batch]
            return
        self._grouper.take(batch)

    def waits(self, task_ids: Collection[TaskId]) -> dict[TaskId, Wait]:
        """Return what those of the tasks wait for that no worker has begun."""
        from ._program.waits import waits_of  # here, because most programs never ask

        if self._lost is not None:
            return {}
        return waits_of(
            task_ids, self._table.jobs, self._workers, missing=self._no_worker(), name=self._name
        )

    async def written(self, task_ids: Collection[TaskId]) -> dict[TaskId, Written]:
        """Return what those of the tasks have written so far that are commands and run."""
        jobs = [job for task_id in task_ids if (job := self._table.jobs.get(task_id)) is not None]
        return await self._calls.written(jobs)

    def _no_worker(self) -> Wait:
        """Return what all tasks wait for if there is no worker."""
        from radical.asyncflow.backend import Wait, WaitKind

        jobs = [] if self._lease.cluster is None else find_batch_jobs(self._lease.cluster)
        if not jobs:
            text = f"a worker: the scheduler of backend {self._name!r} has none"
            return Wait(kind=WaitKind.WORKER, text=text)
        told = self._jobs_told.get()
        says = f": {told}" if told else f", whose {len(jobs)} jobs were given to the batch system"
        return Wait(kind=WaitKind.QUEUE, text=f"a worker of backend {self._name!r}{says}")

    def _ask_for_jobs(self) -> str:
        """Ask the batch system for the states of the workers' jobs."""
        jobs = find_batch_jobs(self._lease.cluster)
        told = [
            f"job {job.id} is {job_state(job.id, job.system) or 'not known'}"
            for job in jobs[:_MOST_JOBS_ASKED]
        ]
        more = len(jobs) - len(told)
        return ", ".join(told) + (f" and {more} more jobs" if more > 0 else "")

    def _ask_for_death(self, worker: str, nanny: str) -> AskForDeath | None:
        return None if self._jobs is None else self._jobs.ask_for_death(worker, nanny)

    def _look_for_jobs(self) -> None:
        """See to it that the backend is lost if no job can bring a worker any more."""
        if self._jobs is not None and not self._is_looking:
            self._is_looking = True
            self._calls.run(self._wait_for_worker(self._jobs))

    async def _wait_for_worker(self, jobs: JobWatch) -> None:
        pause = _FIRST_LOOK_S
        hopeless_since: float | None = None
        try:
            while not (self._workers.slots or self._is_ended or self._lost is not None):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._is_over.wait(), pause)
                    return
                pause = min(pause * _LOOK_GROWTH, _LAST_LOOK_S)
                if not self._table.jobs:
                    hopeless_since = None
                    continue
                if not (end := await in_thread(jobs.describe_end)):
                    hopeless_since = None
                    continue
                pause = _FIRST_LOOK_S
                now = asyncio.get_running_loop().time()
                hopeless_since = now if hopeless_since is None else hopeless_since
                if now - hopeless_since < self._hope_s() or not self._late_failures.idle.is_set():
                    continue
                await self._calls.update_workers()
                if not self._workers.slots:
                    await self._lose_without_workers(end)
        finally:
            self._is_looking = False

    def _hope_s(self) -> float:
        """Return how long all jobs may have ended before the backend is lost."""
        adapt = self._config.adapt
        if adapt is None:
            return 0.0
        forgets_s = parse_timedelta(dask.config.get("distributed.deploy.lost-worker-timeout"))
        interval_s = parse_timedelta(adapt.options().get("interval", "1s"))
        return float(forgets_s + interval_s + _REPLACEMENT_S)

    async def _lose_without_workers(self, end: str) -> None:
        """Report that no worker is left, and which jobs have not begun on those that were."""
        jobs = self._table.jobs.values()
        self._client.release_keys([job.key for job in jobs if job.key])
        # The scheduler answers in order: nothing of these begins afterwards.
        await self._calls.update_workers()
        if not self._workers.slots:
            nothing: BegunCalls = BegunCalls(set(), set(), {}, True)
            self._on_lost(end, nothing)

    def _annotations(self, job: Job) -> dict[str, Any]:
        request = job.request
        counts_cores = self._counts_cores and self._workers.counts_cores
        if not counts_cores and not request.spec.description:
            asked = request.spec.resources
            if asked is DEFAULT_RESOURCES or asked == DEFAULT_RESOURCES:
                return _NO_ANNOTATIONS
            if self._config.threads_per_worker > 1 and asked.total_cores > 1:
                self._counts_cores = True  # it shares its worker with what comes from now on
        return annotations_of(request, count_cores=counts_cores)

    def _send(self, groups: Sequence[Sequence[Job]]) -> None:
        table = self._table
        described = []
        for group in groups:
            annotations = self._annotations(group[0])
            self._uses_ranks |= group[0].request.spec.resources.ranks > 1
            if "resources" in annotations:
                self._workers.watch(group[0], annotations["resources"])
            described.append((group, annotations))
        sent, unsent = self._graphs.send(described, table.jobs, table.values)
        for task in sent:
            table.assign(task.key, task.jobs)
            self._shared_inputs.watch(task)
        for job, error in unsent:
            if isinstance(error, NoResultError):
                if self._late_failures.follow(job, [error.task_id]):
                    continue
                error = table.dependency_error(job, [error.task_id])
            table.fail(job, error)

    def _send_again(self, jobs: Sequence[Job]) -> None:
        """Send jobs that were given back before they began, each as a Dask task of its own."""
        keys = [job.key for job in jobs]
        for job in jobs:
            if job.predecessor:
                job.predecessor, job.payload = 0, None
        self._send([[job] for job in jobs])
        for key in keys:
            self._table.release(key)

    # ------------------------------------------------------------------ cancel

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Cancel these tasks; ignore unknown ids."""
        if self._lost is not None:
            return
        for task_id in task_ids:
            job = self._table.jobs.get(task_id)
            if job is None or job.cancelling:
                continue
            if not job.key:
                self._packer.remove(job)
                self._table.cancel(job)
                continue
            kills = job.request.spec.kind in self._kills_running
            if job.worker is not None and kills and job.worker in self._workers:
                # Reported when it has ended.
                job.cancelling = True
                if job.is_command:
                    self._calls.cancel(job)
                else:
                    self._calls.kill(job)
            else:
                self._calls.cancel(job, kill=kills and not job.is_command)
                self._table.cancel(job)

    # --------------------------------------------------------------------- end

    def _on_lost(self, reason: str, begun: BegunCalls | None = None) -> None:
        """Report the loss; *begun* are the calls that began on workers that are all gone."""
        if self._lost is not None or self._is_ended:
            return
        self._lost = BackendLostError(
            f"backend {self._name!r} at {self._address} was lost: {reason}"
        )
        self._close_queues()
        self._calls.run(self._report_loss(self._lost, begun))

    async def _report_loss(self, error: BackendLostError, begun: BegunCalls | None) -> None:
        """End what is left of the cluster, and report which jobs had not begun there."""
        unbegun = [job.task_id for job in self._table.jobs.values() if not job.key]
        try:
            self._late_failures.hurry()
            await self._late_failures.idle.wait()
            begun = begun or await self._lease.end_at_once(self._topic)
            if begun is not None:
                unbegun = self._unbegun(begun)
        finally:
            self._table.lose(error, [*unbegun, *self._late])
            self._has_told_loss = True
        await self._fetcher.close(str(error))

    def _unbegun(self, begun: BegunCalls) -> list[TaskId]:
        """Return the jobs that have certainly not begun, as the workers have noted all *begun*."""
        jobs = self._table.jobs.values()
        sent = {(job.task_id, job.attempt) for job in jobs if job.key}
        # A worker that is so far ahead may have overwritten the notes of others.
        is_complete = begun.is_complete and not begun.oldest & sent
        known = begun.all | self._listener.begun_before
        return [
            job.task_id
            for job in jobs
            if not job.key
            or (
                is_complete
                and job.worker is None
                and job.computed is None
                and (job.task_id, job.attempt) not in known
            )
        ]

    async def finish(self, cancel_now: asyncio.Event) -> None:
        """Return when all jobs have ended; cancel them once *cancel_now* is set.

        A function that runs on a cluster of somebody else's, and cannot be ended, is told
        and left behind.
        """
        await self._end_jobs(cancel_now)
        await _wait_for_any(self._late_failures.idle, cancel_now)
        self._late_failures.hurry()
        await self._late_failures.idle.wait()

    async def _end_jobs(self, cancel_now: asyncio.Event) -> None:
        table = self._table
        table.close()
        if not table.jobs:
            return
        table.idle.clear()
        await _wait_for_any(table.idle, cancel_now)
        if table.jobs:
            self.cancel(tuple(table.jobs))
        if table.jobs:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.grace + _COMMANDS_TIMEOUT_S):
                    await table.idle.wait()
        for job in tuple(table.jobs.values()):
            table.cancel(job)

    async def end(self) -> None:
        """Close the connection, whatever state it is in."""
        self._is_ended = True
        self._is_over.set()
        self._close_queues()
        self._workers.close()
        await in_thread(self._jobs_told.close)
        await self._calls.end()
        if self._uses_ranks:
            await self._calls.end_ranks()
        await self._fetcher.close(f"backend {self._name!r} was shut down")
        await self._client.end()

    def _close_queues(self) -> None:
        self._packer.close()
        self._grouper.close()
        self._shared_inputs.close()


def _client_for(name: str, config: DaskConfig, lease: Lease) -> GraphClient:
    """Return a client that is not connected yet; *name* is that of the backend."""
    options = {} if lease.security is None else {"security": lease.security}
    return GraphClient(
        lease.address, timeout=config.startup_timeout, name=f"asyncflow-{name}", **options
    )


async def _wait_for_any(*events: asyncio.Event) -> None:
    """Return when one of *events* is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)


def _log_setup() -> LogSetup:
    """Return how `logging` is set up here, without that of Dask, which workers have their own."""
    levels, has_handler = log_setup()
    own = {name: level for name, level in levels.items() if name.partition(".")[0] != "distributed"}
    return own, has_handler
