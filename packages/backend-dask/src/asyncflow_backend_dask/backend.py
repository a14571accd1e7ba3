"""The backend itself: what the engine asks, and what becomes of each task."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed.scheduler import KilledWorker
from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import (
    ExecutionBackend,
    Report,
    ReportSink,
    TaskId,
    TaskRequest,
    TaskSpec,
    TaskState,
    closed_error,
)
from radical.asyncflow.config import validate
from radical.asyncflow.errors import (
    BackendError,
    BackendLostError,
    BackendStartError,
    ConfigurationError,
    DependencyFailureError,
    EngineClosedError,
    ResourceError,
    SerializationError,
    UnsupportedOptionError,
    WorkerLostError,
)
from radical.asyncflow.worker import Failure, guard

from . import _remote
from ._client import GraphClient
from ._cluster import Lease, lease
from ._fleet import Fleet
from ._graphs import GoneError, Graphs
from ._jobs import DESCRIPTION, Job, annotations_of, resources_of
from ._packer import Packer
from ._values import DaskValue, Fetcher
from ._wire import CANCELLED, FAILED, INLINE, KEPT, RETURNED, RUNNING, SKIPPED, UNSENT, load
from .capabilities import WORKER_RESOURCES, dask_capabilities
from .config import DaskConfig

__all__ = ["DaskExecutionBackend"]

_WARM_UP = 0.05  # seconds between two looks for a first worker
_ENDING = 3.0  # seconds beyond the grace for running commands to end at shutdown
_HEARD = 500  # messages after which the scheduler is asked to forget them
_FAILURES = 1_000  # failures that are remembered for dependents which come late
_NO_ANNOTATIONS: dict[str, Any] = {}

_log = logging.getLogger("radical.asyncflow.dask")


class DaskExecutionBackend(ExecutionBackend):
    """Runs tasks on a Dask cluster: the one that is given, or one of its own.

    A task whose dependencies are on this backend goes to the scheduler at once, and
    values stay on the workers until somebody here wants them.  See ``DaskConfig`` for
    the settings, which are the keywords.

    Raises:
        ConfigurationError: names everything that is wrong with the settings.
    """

    def __init__(self, client: Any = None, *, name: str = "dask", **settings: Any) -> None:
        if client is not None:
            settings["client"] = client
        given = {key: value for key, value in settings.items() if value is not None}
        if "dashboard_address" in settings:
            given["dashboard_address"] = settings["dashboard_address"]
        values = validate("asyncflow_backend_dask.config:DaskConfig", given, backend=name)
        self.name = name
        self._config = config = DaskConfig.model_construct(**values)
        self._owned = all(
            getattr(config, item) is None
            for item in ("client", "cluster", "address", "scheduler_file", "cluster_class")
        )
        declared = config.resources or {}
        self.capabilities = dask_capabilities(
            resources=[
                field
                for field, resource in WORKER_RESOURCES.items()
                if not self._owned or resource in declared
            ],
            kill_running=config.kill_running,
            processes=not self._owned or config.processes,
            threads=config.threads_per_worker if self._owned else 0,
        )
        self._sink: ReportSink
        self._lease: Lease | None = None
        self._client: GraphClient | None = None
        self._graphs: Graphs
        self._fetcher: Fetcher
        self._started = False
        self._closed = False
        self._down = False
        self._lost: BackendLostError | None = None
        self._ending: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._idle = asyncio.Event()
        self._topic = ""
        self._heard = 0
        self._packer = Packer(self._send)
        self._fleet = Fleet(config.resource_patience, self._failed)
        self._jobs: dict[TaskId, Job] = {}
        self._values: dict[TaskId, DaskValue] = {}
        self._members: dict[str, list[Job]] = {}
        self._holds: dict[str, int] = {}
        self._failures: OrderedDict[TaskId, tuple[str, str, BaseException]] = OrderedDict()
        self._stopping: dict[str | None, list[tuple[TaskId, int]]] = {}
        self._errands: set[asyncio.Task[None]] = set()

    @property
    def dashboard_link(self) -> str | None:
        """Where the cluster shows its dashboard; None if it has none, or before the start."""
        return self._lease.dashboard_link if self._lease is not None else None

    # ------------------------------------------------------------------- start

    async def start(self, sink: ReportSink) -> None:
        if self._closed:
            raise closed_error(f"backend {self.name!r}")
        if self._started:
            raise BackendStartError(f"backend {self.name!r} was started already")
        self._started = True
        self._sink = sink
        guard().acquire()
        timeout = self._config.startup_timeout
        try:
            async with asyncio.timeout(timeout):
                await self._come_up(timeout)
        except BaseException as exc:
            self._closed = True
            what = "no scheduler answered"
            if self._client is not None and self._client.status == "running":
                what = "the scheduler has no worker"
            elif self._lease is None:
                what = "the cluster did not come up"
            await self._take_down()
            if isinstance(exc, BackendStartError) or not isinstance(exc, Exception):
                raise
            reason = (
                f"{what} within startup_timeout={timeout:g} s"
                if isinstance(exc, TimeoutError)
                else f"{type(exc).__name__}: {exc}"
            )
            raise BackendStartError(f"backend {self.name!r} did not start: {reason}") from exc

    async def _come_up(self, timeout: float) -> None:
        config = self._config
        self._lease = await lease(config)
        address = self._lease.address
        if config.require_tls and not address.startswith("tls://"):
            raise BackendStartError(
                f"backend {self.name!r} has require_tls, but its scheduler is at {address}; "
                "give it security= and an address that begins with tls://"
            )
        options: dict[str, Any] = {"timeout": timeout, "name": f"asyncflow-{self.name}"}
        if self._lease.security is not None:
            options["security"] = self._lease.security
        self._client = client = GraphClient(self, address, **options)
        await client.connect(timeout)
        self._topic = f"asyncflow-{self._sink.uid}-{secrets.token_hex(4)}"
        client.subscribe(self._topic, "all", client.id)
        work_dir: Callable[[], Path] = self._sink.work_dir
        self._graphs = Graphs(client, self._topic, {"work_dir": work_dir, "grace": config.grace})
        self._fetcher = Fetcher(client, direct=self._lease.direct)
        await self._look()
        while not self._fleet.slots and not self._may_be_empty():
            await asyncio.sleep(_WARM_UP)
            await self._look()
        await self._greet()

    def _may_be_empty(self) -> bool:
        """Whether a cluster without a worker is as it should be: it grows with the load."""
        adapt = self._config.adapt
        return self._config.n_workers == 0 or (adapt is not None and adapt.minimum == 0)

    async def _look(self) -> None:
        assert self._client is not None
        self._fleet.update(await self._client.scheduler.identity(n_workers=-1))

    async def _greet(self) -> None:
        """See that this package is on the workers, before a task finds that it is not."""
        assert self._client is not None
        answers = await self._client._run(_remote.greet, on_error="return")
        errors = [answer for answer in answers.values() if isinstance(answer, Exception)]
        if errors and len(errors) == len(answers):
            raise BackendStartError(
                f"the workers cannot run tasks of this backend ({type(errors[0]).__name__}: "
                f"{errors[0]}); install asyncflow-backend-dask of the same version where the "
                "scheduler and the workers run"
            ) from errors[0]

    # ------------------------------------------------------------------ checks

    def check(self, spec: TaskSpec) -> None:
        self._check_description(spec)
        config = self._config
        if not self._owned or config.adapt is not None:
            return
        has = config.resources or {}
        asked = resources_of(spec.resources, count_cores="CPU" in has)
        beyond = [
            f"{name}={amount:g} (a worker has {has.get(name, 0):g})"
            for name, amount in asked.items()
            if amount > has.get(name, 0)
        ]
        if beyond:
            raise ResourceError(
                f"task {spec.name!r} asks for more than any worker ever has: {', '.join(beyond)}; "
                "ask for less, or raise resources in the backend's config"
            )

    def _check_description(self, spec: TaskSpec) -> None:
        problems = []
        for key, value in spec.description.items():
            if key == "retries":
                problems.append("'retries' are the engine's: use retries= of the task")
            elif key not in DESCRIPTION:
                problems.append(f"unknown key {key!r}")
            elif key == "priority":
                if isinstance(value, bool) or not isinstance(value, int | float):
                    problems.append(f"'priority' must be a number, not {value!r}")
            elif key == "allow_other_workers":
                if not isinstance(value, bool):
                    problems.append(f"'allow_other_workers' must be true or false, not {value!r}")
            elif not isinstance(value, str) and not (
                isinstance(value, list | tuple | set)
                and value
                and all(isinstance(item, str) for item in value)
            ):
                problems.append(f"'workers' must be an address or a list of them, not {value!r}")
        if problems:
            raise UnsupportedOptionError(
                f"task {spec.name!r}: backend {self.name!r} takes task_description with "
                f"{', '.join(map(repr, DESCRIPTION))}: {'; '.join(problems)}"
            )
        if spec.description.get("allow_other_workers") and not spec.description.get("workers"):
            raise ConfigurationError(
                f"task {spec.name!r}: 'allow_other_workers' says whether others than 'workers' "
                "will do: give those, too"
            )

    # ------------------------------------------------------------------ submit

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        if self._closed:
            raise closed_error(f"backend {self.name!r}")
        if not self._started:
            raise EngineClosedError(f"backend {self.name!r} was not started")
        if self._lost is not None:
            raise self._lost
        needed = {task_id for request in batch for task_id in request.dependencies}
        groups: list[list[Job]] = []
        for task_id in needed:
            # What others wait for does not wait for company itself.
            job = self._jobs.get(task_id)
            if job is not None and not job.key and self._packer.take(job):
                groups.append([job])
        loose: dict[int, list[Job]] = {}
        for request in batch:
            job = Job(request)
            self._jobs[job.task_id] = job
            try:
                if self._prepare(job, needed):
                    assert job.code is not None
                    loose.setdefault(job.code.number, []).append(job)
                else:
                    groups.append([job])
            except SerializationError as exc:
                self._failed(job, exc)
        for jobs in loose.values():
            code = jobs[0].code
            assert code is not None
            groups += self._packer.split(code, jobs, self._fleet.slots)
        self._send(groups)

    def _prepare(self, job: Job, needed: Collection[TaskId]) -> bool:
        """Pickle what can be; whether *job* may share a Dask task with others.

        Raises:
            SerializationError: its function or its arguments cannot be pickled.
        """
        request = job.request
        if job.is_command:
            return False
        job.code = self._graphs.codes.of(request.spec.function)
        if request.dependencies:
            return False
        job.payload = self._graphs.pickle_arguments(job)
        return (
            self._config.pack
            and job.payload is not None
            and job.task_id not in needed
            and not self._annotations(job)
        )

    def _annotations(self, job: Job) -> dict[str, Any]:
        request = job.request
        if not request.spec.description and not self.capabilities.resources:
            return _NO_ANNOTATIONS
        return annotations_of(request, count_cores=self._fleet.counts_cores)

    def _send(self, groups: Sequence[Sequence[Job]]) -> None:
        described = []
        for group in groups:
            annotations = self._annotations(group[0])
            if "resources" in annotations:
                self._fleet.watch(group[0], annotations["resources"])
            described.append((group, annotations))
        bad = self._graphs.send(described, self._jobs, self._values)
        for group in groups:
            key = group[0].key
            if key:
                self._members[key] = list(group)
                self._holds[key] = len(group)
        for job, error in bad:
            if isinstance(error, GoneError):
                error = self._blame(job, [error.task_id])
            self._failed(job, error)

    # ------------------------------------------------------------------ cancel

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        if self._client is None or self._lost is not None:
            return
        for task_id in task_ids:
            job = self._jobs.get(task_id)
            if job is None or job.ending:
                continue
            if not job.key:
                self._packer.take(job)
                self._cancelled(job)
                continue
            kills = job.request.spec.kind in self.capabilities.kills_running
            if job.worker is not None and kills and job.worker in self._fleet:
                # Its end is reported when it has come.
                job.ending = True
                if job.is_command:
                    self._stop(job)
                else:
                    self._errand(self._kill(job, job.worker))
            else:
                self._stop(job)
                self._cancelled(job)

    def _stop(self, job: Job) -> None:
        """Tell the workers, in one message for all that are stopped in this turn."""
        if not self._stopping:
            asyncio.get_running_loop().call_soon(self._send_stops)
        self._stopping.setdefault(job.worker, []).append((job.task_id, job.attempt))

    def _send_stops(self) -> None:
        stopping, self._stopping = self._stopping, {}
        for worker, attempts in stopping.items():
            workers = None if worker is None else [worker]
            self._errand(self._tell_workers(workers, _remote.cancel, self._topic, attempts))

    async def _tell_workers(
        self, workers: list[str] | None, function: Callable[..., Any], *args: Any
    ) -> None:
        client = self._client
        if client is not None and client.status == "running":
            # A worker that is gone has nothing left to be told.
            with suppress(OSError):
                await client._run(function, *args, workers=workers, on_error="ignore")

    async def _kill(self, job: Job, worker: str) -> None:
        """End *job* with its process, which the nanny of *worker* starts anew."""
        # First to all: Dask is about to run it once more, wherever there is room.
        attempts = [(job.task_id, job.attempt)]
        await self._tell_workers(None, _remote.cancel, self._topic, attempts)
        client = self._client
        if client is None or job.over or worker in self._fleet.leaving:
            return
        self._fleet.leaving.add(worker)
        with suppress(OSError):
            await client.scheduler.restart_workers(
                workers=[worker],
                timeout=self._config.grace + _ENDING,
                wait_for_workers=False,
                on_error="return",
                stimulus_id=f"asyncflow-restart-{self._topic}",
            )

    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    # ------------------------------------------------- what the scheduler says

    def on_event(self, topic: str, message: Any) -> None:
        if topic == self._topic:
            self._heard += 1
            if not self._heard % _HEARD:
                self._errand(self._forget_events())
            self._on_calls(message["worker"], message["events"])
            return
        action = message.get("action") if isinstance(message, dict) else None
        if action == "update-graph":
            self._graphs.arrived(str(message.get("stimulus_id")))
        elif action == "remove-worker":
            self._on_worker_removed(message)
        elif action == "add-worker":
            self._errand(self._look_again())

    async def _forget_events(self) -> None:
        """Have the scheduler forget our events, of which it would keep 100,000."""
        client = self._client
        if client is not None and client.status == "running":
            with suppress(Exception):  # a scheduler may refuse to run functions
                await client._run_on_scheduler(_remote.forget_events, self._topic)

    async def _look_again(self) -> None:
        with suppress(OSError):
            await self._look()

    def _on_calls(self, worker: str, events: Iterable[Sequence[Any]]) -> None:
        reports: list[Report] = []
        for kind, task_id, attempt, seconds, data in events:
            job = self._jobs.get(task_id)
            if job is None or job.attempt != attempt or job.kept:
                continue
            if job.worker is None and kind not in (RETURNED, SKIPPED, UNSENT):
                # One that was too short to be told of began, too.
                reports.append(Report(task_id, attempt, TaskState.RUNNING, worker))
            if kind == RUNNING:
                job.worker = worker
            elif kind == INLINE:
                self._learn(job, seconds, bulky=False)
                reports.append(self._done(job, data))
            elif kind == KEPT:
                self._learn(job, seconds, bulky=True)
                job.worker, job.kept = worker, True
            elif kind == FAILED:
                self._learn(job, seconds, bulky=False)
                reports.append(self._report_failure(job, Failure(*data).rebuild()))
            elif kind == UNSENT:
                self._learn(job, seconds, bulky=False)
                reports.append(self._report_failure(job, SerializationError(*data)))
            elif kind == SKIPPED:
                reports.append(self._report_failure(job, self._blame(job, data)))
            elif kind == CANCELLED:
                reports.append(self._over(job, TaskState.CANCELLED))
            elif kind == RETURNED:
                self._send_again(job)
        if reports:
            self._sink.report(reports)

    def _learn(self, job: Job, seconds: float, *, bulky: bool) -> None:
        if job.code is not None:
            self._packer.learn(job.code, seconds, bulky=bulky, slots=self._fleet.slots)

    def on_memory(self, key: str) -> None:
        reports = []
        for job in tuple(self._members.get(key, ())):
            if job.over or job.key != key:
                continue
            if job.kept and not job.is_command:
                reports.append(self._done(job, None))
            else:
                # A command's output is wanted here; of any other no news has come, as
                # when its worker lost the connection: what Dask has will tell.
                self._errand(self._settle(job, key))
        if reports:
            self._sink.report(reports)

    async def _settle(self, job: Job, key: str) -> None:
        error: BaseException
        try:
            held = await self._fetcher.fetch(key)
            kept = held[job.index] if isinstance(held, list) else held
            if job.over or job.key != key:
                return
            if kept is None:
                self._send_again(job)
                return
            if kept.failed:
                raise BackendError("its failure was reported, but the report was lost")
            if job.is_command:
                self._sink.report([self._over(job, TaskState.DONE, kept.get())])
            else:
                self._sink.report([self._done(job, None)])
            return
        except Exception as exc:
            error = exc
        if not job.over:
            self._failed(job, error)

    def on_error(self, key: str, error: BaseException) -> None:
        for job in tuple(self._members.get(key, ())):
            if job.over or job.key != key:
                continue
            if isinstance(error, KilledWorker):
                self._failed(job, self._worker_lost(job, str(error.last_worker.address)))
            else:
                lost = BackendError(f"Dask could not run task {job.name!r}: {error}")
                lost.__cause__ = error
                self._failed(job, lost)

    def on_dropped(self, keys: Collection[str], reason: str) -> None:
        for key in keys:
            for job in tuple(self._members.get(key, ())):
                if not job.over and job.key == key:
                    self._failed(
                        job, BackendError(f"the Dask scheduler dropped task {job.name!r}: {reason}")
                    )

    def on_gone(self, reason: str) -> None:
        if self._lost is not None or self._closed:
            return
        where = self._lease.address if self._lease is not None else "?"
        self._lost = BackendLostError(f"backend {self.name!r} at {where} was lost: {reason}")
        self._sink.lost(self._lost)
        self._packer.close()
        for job in self._jobs.values():
            job.over = True
        self._jobs.clear()
        self._members.clear()
        self._idle.set()
        self._hurry.set()
        self._errand(self._fetcher.close(str(self._lost)))

    def _on_worker_removed(self, message: Mapping[str, Any]) -> None:
        address = message["worker"]
        expected = message.get("expected") or address in self._fleet.leaving
        self._fleet.remove(address)
        suspects = False
        for key in message.get("processing-tasks") or ():
            for job in tuple(self._members.get(key, ())):
                if job.over or job.key != key:
                    continue
                if job.ending:
                    self._cancelled(job)
                elif expected:
                    job.worker = None
                elif job.worker == address:
                    self._charge(job, address)
                else:
                    suspects = True
        for job in [job for job in self._jobs.values() if job.ending and job.worker == address]:
            self._cancelled(job)
        if suspects:
            self._errand(self._tell_workers(None, _remote.distrust))

    def _charge(self, job: Job, address: str) -> None:
        """*job* ran on a worker that died; Dask is about to run it once more."""
        job.deaths += 1
        job.worker = None
        if job.request.spec.retries is not None or job.deaths > self._config.allowed_failures:
            self._stop(job)  # it may have begun again
            self._failed(job, self._worker_lost(job, address))

    def _worker_lost(self, job: Job, address: str) -> WorkerLostError:
        times = f"the worker under it died {job.deaths} times" if job.deaths > 1 else ""
        return WorkerLostError(job.name, address, None, job.attempt, times)

    # ----------------------------------------------------------- ends of tasks

    def _done(self, job: Job, inline: bytes | None) -> Report:
        """The report of a success, whose value is *inline* or stays where it is."""
        if job.is_command:
            assert inline is not None
            return self._over(job, TaskState.DONE, load(inline))
        value = DaskValue(job.task_id, job.key, job.index, inline, self._fetcher, self._released)
        self._values[job.task_id] = value
        if inline is None:
            self._holds[job.key] += 1
        return self._over(job, TaskState.DONE, value)

    def _report_failure(self, job: Job, error: BaseException) -> Report:
        spec = job.request.spec
        root, cause = spec.name, error
        if isinstance(error, DependencyFailureError) and error.__cause__ is not None:
            root, cause = error.root, error.__cause__
        self._failures[job.task_id] = spec.name, root, cause
        if len(self._failures) > _FAILURES:
            self._failures.popitem(last=False)
        return self._over(job, TaskState.FAILED, error)

    def _over(self, job: Job, state: TaskState, value: Any = None) -> Report:
        """The terminal report of *job*, which nobody here needs any longer."""
        job.over = True
        del self._jobs[job.task_id]
        members = self._members.get(job.key)
        if members is not None:
            # Its arguments must not live as long as its value does.
            members.remove(job)
        if job.key:
            self._let_go(job.key)
        if not self._jobs:
            self._idle.set()
        return Report(job.task_id, job.attempt, state, value)

    def _failed(self, job: Job, error: BaseException) -> None:
        self._sink.report([self._report_failure(job, error)])

    def _cancelled(self, job: Job) -> None:
        self._sink.report([self._over(job, TaskState.CANCELLED)])

    def _send_again(self, job: Job) -> None:
        """A worker gave *job* back, before it began."""
        old = job.key
        self._send([[job]])
        self._let_go(old)

    def _released(self, value: DaskValue) -> None:
        if self._values.get(value.task_id) is value:
            del self._values[value.task_id]
        if value.inline is None and not self._closed:
            self._let_go(value.key)

    def _let_go(self, key: str) -> None:
        """One reason less to keep *key*."""
        left = self._holds.get(key, 0) - 1
        if left > 0:
            self._holds[key] = left
            return
        self._holds.pop(key, None)
        self._members.pop(key, None)
        if self._lost is None:
            self._graphs.release(key)

    def _blame(self, job: Job, failed: Sequence[TaskId]) -> BaseException:
        """The error of *job*, which has no use without these."""
        known = [self._failures[item] for item in failed if item in self._failures]
        if not known:
            ids = ", ".join(map(str, failed))
            return BackendError(f"task {job.name!r} was not run: there is no value of task {ids}")
        _, root, cause = known[0]
        error = DependencyFailureError(job.name, [item[0] for item in known], root, cause)
        error.__cause__ = cause
        return error

    # ---------------------------------------------------------------- shutdown

    async def shutdown(self, *, cancel: bool = True) -> None:
        """End; within the grace and some seconds where *cancel* is true.

        A function that runs on somebody else's cluster, and cannot be ended, is told
        and left behind.
        """
        self._closed = True
        if cancel:
            self._hurry.set()
        if not self._started:
            return
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        if self._lost is None and self._client is not None and self._jobs:
            self._idle.clear()
            if await self._first(self._idle, self._hurry) is self._hurry:
                self.cancel(tuple(self._jobs))
                await self._first(self._idle, timeout=self._config.grace + _ENDING)
                for job in tuple(self._jobs.values()):
                    self._cancelled(job)
        await self._take_down()

    async def _first(self, *events: asyncio.Event, timeout: float | None = None) -> Any:
        """The event that is set first; None after *timeout* seconds."""
        for event in reversed(events):
            if event.is_set():
                return event
        waits = {asyncio.ensure_future(event.wait()): event for event in events}
        done, pending = await asyncio.wait(
            waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
        for wait in pending:
            wait.cancel()
        if pending:
            await asyncio.wait(pending)
        return waits[done.pop()] if done else None

    async def _take_down(self) -> None:
        """Close what is open, whatever state it is in."""
        if self._down:
            return
        self._down = True
        self._packer.close()
        self._fleet.close()
        if self._stopping:
            self._send_stops()
        if self._errands:
            # Messages to workers of somebody else's go out; nothing waits for long.
            _, late = await asyncio.wait(self._errands, timeout=_ENDING)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        if self._client is not None:
            if hasattr(self, "_fetcher"):
                await self._fetcher.close(f"backend {self.name!r} was shut down")
            await self._client.end()
        if self._lease is not None:
            await self._lease.end()
        await in_thread(guard().release)
