"""The backend itself: what the engine asks of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import (
    ExecutionBackend,
    ReportSink,
    Route,
    TaskId,
    TaskKind,
    TaskRequest,
    TaskSpec,
)
from radical.asyncflow.config import validate
from radical.asyncflow.errors import BackendStartError, ResourceError, UnsupportedOptionError
from radical.asyncflow.model import DEFAULT_RESOURCES
from radical.asyncflow.worker import MpiLauncher, found_gpus, guard, keep_output, safe_str

from ._cluster.lease import Lease, obtain_lease
from ._cluster.node_check import DaskNodeCheck
from ._cluster.offers import WorkerOffers
from ._program.jobs import check_description, resources_of
from ._session import Session
from .capabilities import dask_capabilities
from .config import DaskConfig

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait, Written

__all__ = ["DaskExecutionBackend"]


class DaskExecutionBackend(ExecutionBackend):
    """A backend that runs tasks on a Dask cluster: a given one, or a local one that it starts.

    A task whose dependencies are on this backend goes to the scheduler at once, and values
    stay on the workers until somebody here wants them.

    Args:
        client: a `distributed.Client` whose scheduler is used; or the settings, as a
            ``DaskConfig`` or a mapping.
        name: how tasks ask for this backend.
        **settings: the other settings of ``DaskConfig``, which describes them.  A setting
            that is None has its default; only ``dashboard_address=None`` means that there
            is no dashboard.

    Raises:
        ConfigurationError: names everything that is wrong with the settings.
    """

    def __init__(self, client: Any = None, *, name: str = "dask", **settings: Any) -> None:
        complete: Any = client if isinstance(client, DaskConfig | Mapping) else None
        given = {
            key: value
            for key, value in settings.items()
            if value is not None or key == "dashboard_address"
        }
        if complete is None and client is not None:
            given["client"] = client
        self.name = name
        self._config = config = validate(DaskConfig, complete, given, backend=name)
        local = config.is_local
        self._offers = WorkerOffers(config) if local else None
        if self._offers is not None and (config.resources or {}).get("GPU"):
            _ = self._offers.gpus  # an error is raised here
        self.capabilities = dask_capabilities(
            kill_running=config.kill_running,
            processes=not local or config.processes,
            threads=config.threads_per_worker if local else None,
            local=local,
        )
        self._lease: Lease | None = None
        self._session: Session | None = None
        self._ignore_output: Callable[[], None] | None = None
        self._is_up = False
        self._ending: asyncio.Task[None] | None = None
        self._cancel_now = asyncio.Event()

    @property
    def dashboard_link(self) -> str | None:
        """The URL of the cluster's dashboard; None if it has none, or before the start."""
        return self._lease.dashboard_link if self._lease is not None else None

    def capacity(self) -> int | None:
        """Return the number of threads of all workers, as far as it is known."""
        return None if self._session is None else self._session.capacity

    async def check_from_node(
        self, *, wait: float, limit: float, tell: Callable[[str], None]
    ) -> Sequence[Route]:
        """Start one worker, or ask those of a cluster that is given, and end what was started."""
        guard().acquire()
        try:
            check = DaskNodeCheck(self._config, wait_s=wait, limit_s=limit, tell=tell)
            return await check.run()
        finally:
            await in_thread(guard().release)

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        guard().acquire()
        if sink.keeps_output:  # by workers in threads of this process
            self._ignore_output = keep_output()
        self._is_up = True
        timeout = self._config.startup_timeout
        try:
            async with asyncio.timeout(timeout):
                await self._come_up(sink)
        except TimeoutError as exc:
            missing = await self._missing()
            await self._take_down()
            raise BackendStartError(
                f"backend {self.name!r} did not start within startup_timeout={timeout:g} s: "
                f"{missing}"
            ) from exc
        except BaseException as exc:
            await self._take_down()
            if isinstance(exc, BackendStartError) or not isinstance(exc, Exception):
                raise
            text = f"backend {self.name!r} did not start: {safe_str(exc)}"
            raise BackendStartError(text) from exc

    async def _come_up(self, sink: ReportSink) -> None:
        self._lease = await obtain_lease(self._config)
        address = self._lease.address
        if self._config.require_tls and not address.startswith("tls://"):
            raise BackendStartError(
                f"backend {self.name!r} has require_tls=True, but its scheduler is at {address}; "
                "set security= and an address that begins with tls://"
            )
        self._session = Session(
            self.name,
            self._config,
            self._lease,
            sink,
            kills_running=self.capabilities.kills_running,
            counts_cores=self._offers is None or "CPU" in (self._config.resources or {}),
        )
        await self._session.connect()

    async def _missing(self) -> str:
        """Return what a start that does not get further is waiting for."""
        if self._lease is None:
            return "the cluster did not come up"
        if self._session is None or not self._session.is_connected:
            return f"no scheduler answered at {self._lease.address}"
        return await in_thread(self._lease.describe_missing_workers)

    def check(self, spec: TaskSpec) -> None:
        check_description(spec, self.name)
        self._check_ranks(spec)
        offers = self._offers
        if offers is None or spec.resources == DEFAULT_RESOURCES:
            return
        asked = resources_of(spec.resources, count_cores=False)
        ranks = spec.resources.ranks
        share = f" for {ranks} ranks" if ranks > 1 else ""
        too_much = [
            f"{name}={amount:g}{share} (a worker has {most:g})"
            for name, amount in asked.items()
            if amount > (most := offers.most(name))
        ]
        if too_much:
            looked = "" if offers.most("GPU") or not asked.get("GPU") else f" ({found_gpus().how})"
            raise ResourceError(
                f"task {spec.name!r} asks for more than any worker ever has: "
                f"{', '.join(too_much)}{looked}; ask for less, or give workers more by n_workers, "
                "threads_per_worker, memory_limit or resources in the backend's config"
            )

    def _check_ranks(self, spec: TaskSpec) -> None:
        if spec.resources.ranks == 1:
            return
        if spec.service:
            raise UnsupportedOptionError(
                f"task {spec.name!r}: a service has one rank on this backend; leave ranks out, "
                "and let the service's own command start its processes"
            )
        if self._offers is not None:  # its workers are on this machine
            is_function = spec.kind is TaskKind.FUNCTION
            MpiLauncher.check(spec.name, function=is_function, setting=self._config.mpi_launcher)

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        assert self._session is not None
        self._session.submit(batch)

    def waits(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Wait]:
        return {} if self._session is None else self._session.waits(task_ids)

    async def written(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Written]:
        return {} if self._session is None else await self._session.written(task_ids)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        if self._session is not None:
            self._session.cancel(task_ids)

    async def shutdown(self, *, cancel: bool = True) -> None:
        """End; with *cancel* within the grace and some seconds.

        A function that runs on a cluster of somebody else's, and cannot be ended, is told
        and left behind.
        """
        await super().shutdown(cancel=cancel)
        if cancel:
            self._cancel_now.set()
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        if self._is_up and self._session is not None:
            await self._session.finish(self._cancel_now)
        await self._take_down()

    async def _take_down(self) -> None:
        """Close what is open, whatever state it is in."""
        if not self._is_up:
            return
        self._is_up = False
        if self._session is not None:
            await self._session.end()
        if self._lease is not None:
            await self._lease.end()
        if self._ignore_output is not None:
            self._ignore_output()
        await in_thread(guard().release)
