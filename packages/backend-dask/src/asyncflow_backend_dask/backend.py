"""The backend itself: what the engine asks, and what becomes of each task."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import (
    ExecutionBackend,
    ReportSink,
    TaskId,
    TaskRequest,
    TaskSpec,
    closed_error,
)
from radical.asyncflow.config import validate
from radical.asyncflow.errors import (
    BackendLostError,
    BackendStartError,
    EngineClosedError,
    ResourceError,
)
from radical.asyncflow.worker import guard

from ._cluster.lease import Lease, lease
from ._listener import News
from ._packing.packer import Packer
from ._packing.shared_inputs import Ties
from ._packing.sorter import Sorter
from ._program.client import GraphClient
from ._program.fleet import Fleet
from ._program.graphs import GoneError, Graphs
from ._program.jobs import Job, annotations_of, check_description, resources_of
from ._program.ledger import Ledger
from ._program.scheduler_calls import Errands
from ._program.values import Fetcher
from ._scheduler.lost_workers import Deaths
from ._worker import run as _remote
from .capabilities import WORKER_RESOURCES, dask_capabilities
from .config import DaskConfig

__all__ = ["DaskExecutionBackend"]

_WARM_UP = 0.05  # seconds between two looks for a first worker
_ENDING = 3.0  # seconds beyond the grace for running commands to end at shutdown
_NO_ANNOTATIONS: dict[str, Any] = {}


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
        self._lease: Lease | None = None
        self._client: GraphClient | None = None
        self._ledger: Ledger
        self._fleet: Fleet
        self._packer: Packer
        self._errands: Errands
        self._graphs: Graphs
        self._sorter: Sorter
        self._ties: Ties
        self._started = False
        self._closed = False
        self._down = False
        self._lost: BackendLostError | None = None
        self._ending: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

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
        self._ledger = Ledger(sink)
        self._fleet = Fleet(self._config.resource_patience, self._ledger.failed)
        self._packer = Packer(self._send)
        topic = f"asyncflow-{sink.uid}-{secrets.token_hex(4)}"
        self._errands = errands = Errands(self._fleet, topic)
        self._ties = Ties(self._ledger, lambda late: errands.run(errands.loosen(late)))
        guard().acquire()
        timeout = self._config.startup_timeout
        try:
            async with asyncio.timeout(timeout):
                await self._come_up(topic, sink.work_dir, timeout)
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

    async def _come_up(self, topic: str, work_dir: Callable[[], Path], timeout: float) -> None:
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
        news = News(
            topic,
            self._ledger,
            self._fleet,
            self._packer,
            self._errands,
            send_again=self._send_again,
            learned=lambda code: self._sorter.learned(code),
            gone=self._on_gone,
        )
        self._client = client = GraphClient(news, address, **options)
        self._errands.client = client
        self._graphs = Graphs(
            client,
            topic,
            {"work_dir": work_dir, "grace": config.grace},
            allowed_failures=config.allowed_failures,
        )
        self._ledger.graphs = self._graphs
        self._sorter = Sorter(
            self._ledger,
            self._graphs,
            self._packer,
            self._fleet,
            self._annotations,
            self._send,
            pack=config.pack,
        )
        self._ledger.fetcher = Fetcher(client, direct=self._lease.direct)
        await client.connect(timeout)
        client.subscribe(topic, "all", client.id)
        await self._oversee(topic)
        await self._errands.look()
        while not self._fleet.slots and not self._may_be_empty():
            await asyncio.sleep(_WARM_UP)
            await self._errands.look()
        if config.kill_running and (alone := self._fleet.without_nanny):
            raise BackendStartError(
                f"kill_running restarts workers by their nanny, and {', '.join(sorted(alone)[:5])} "
                "have none; start them with a nanny, or leave kill_running out"
            )
        await self._greet()
        client.listen(config.silence)

    async def _oversee(self, topic: str) -> None:
        """Have the scheduler decide by our rules what runs again when a worker dies."""
        assert self._client is not None
        try:
            await self._client.register_plugin(Deaths(topic, self._client.id))
        except Exception as exc:
            raise BackendStartError(
                f"the scheduler cannot serve this backend ({type(exc).__name__}: {exc}); install "
                "asyncflow-backend-dask of the same version where the scheduler and the workers "
                "run, and leave distributed.scheduler.pickle on"
            ) from exc

    def _may_be_empty(self) -> bool:
        """Whether a cluster without a worker is as it should be: it grows with the load."""
        adapt = self._config.adapt
        return self._config.n_workers == 0 or (adapt is not None and adapt.minimum == 0)

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
        check_description(spec, self.name)
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

    # ------------------------------------------------------------------ submit

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        if self._closed:
            raise closed_error(f"backend {self.name!r}")
        if not self._started:
            raise EngineClosedError(f"backend {self.name!r} was not started")
        if self._lost is not None:
            raise self._lost
        self._sorter.take(batch)

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
        sent, bad = self._graphs.send(described, self._ledger.jobs, self._ledger.values)
        for item in sent:
            self._ledger.sent(item.key, item.jobs)
            self._ties.watch(item)
        for job, error in bad:
            if isinstance(error, GoneError):
                error = self._ledger.blame(job, [error.task_id])
            self._ledger.failed(job, error)

    def _send_again(self, jobs: Sequence[Job]) -> None:
        """These were given back, before they began."""
        keys = [job.key for job in jobs]
        for job in jobs:
            if job.after:
                job.after, job.payload = 0, None
        self._send([[job] for job in jobs])
        for key in keys:
            self._ledger.let_go(key)

    # ------------------------------------------------------------------ cancel

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        if self._client is None or self._lost is not None:
            return
        for task_id in task_ids:
            job = self._ledger.jobs.get(task_id)
            if job is None or job.ending:
                continue
            if not job.key:
                self._packer.take(job)
                self._ledger.cancelled(job)
                continue
            kills = job.request.spec.kind in self.capabilities.kills_running
            if job.worker is not None and kills and job.worker in self._fleet:
                # Its end is reported when it has come.
                job.ending = True
                if job.is_command:
                    self._errands.stop(job)
                else:
                    attempts = [(job.task_id, job.attempt)]
                    self._errands.run(self._errands.kill(attempts, job.worker))
            else:
                self._errands.stop(job, kill=kills and not job.is_command)
                self._ledger.cancelled(job)

    # --------------------------------------------------------------------- end

    def _on_gone(self, reason: str) -> None:
        if self._lost is not None or self._closed:
            return
        where = self._lease.address if self._lease is not None else "?"
        self._lost = BackendLostError(f"backend {self.name!r} at {where} was lost: {reason}")
        self._packer.close()
        self._sorter.close()
        self._ties.close()
        self._ledger.lose(self._lost)
        self._hurry.set()
        self._errands.run(self._ledger.fetcher.close(str(self._lost)))

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
        self._ledger.close()
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        if self._lost is None and self._client is not None and self._ledger.jobs:
            self._ledger.idle.clear()
            if await self._first(self._ledger.idle, self._hurry) is self._hurry:
                self.cancel(tuple(self._ledger.jobs))
                await self._first(self._ledger.idle, timeout=self._config.grace + _ENDING)
                for job in tuple(self._ledger.jobs.values()):
                    self._ledger.cancelled(job)
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
        if self._client is not None:
            self._sorter.close()
        self._ties.close()
        self._fleet.close()
        await self._errands.end()
        if self._client is not None:
            await self._ledger.fetcher.close(f"backend {self.name!r} was shut down")
            await self._client.end()
        if self._lease is not None:
            await self._lease.end()
        await in_thread(guard().release)
