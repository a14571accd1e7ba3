"""The check of the way from a worker's node back to the scheduler: a cluster with one worker."""

from __future__ import annotations

import asyncio
import inspect
import math
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Client
from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import Route
from radical.asyncflow.errors import BackendStartError
from radical.asyncflow.model import parse_duration
from radical.asyncflow.worker import (
    SLURM_END_STATES,
    Knock,
    NodeCheck,
    NodeSign,
    job_state,
    safe_str,
)

from ..config import DaskConfig, import_class
from .batch_jobs import find_batch_jobs, is_job_queue
from .lease import Lease, obtain_lease

__all__ = ["DaskNodeCheck"]

_POLL_S = 0.2
_STATE_POLL_S = 5.0  # between two questions to the batch system
_SPARE_MINUTES = 1  # for the job to start its shell


class DaskNodeCheck:
    """One worker, which connects to its scheduler and runs no task."""

    def __init__(
        self, config: DaskConfig, *, wait_s: float, limit_s: float, tell: Callable[[str], None]
    ) -> None:
        """Start nothing yet.

        Args:
            wait_s: how long a worker may take to appear, or its job to begin.
            limit_s: how long each step may take.
            tell: called in the loop with a sentence about each step.
        """
        self._config = config
        self._wait_s = wait_s
        self._limit_s = limit_s
        self._tell = tell
        self._check: NodeCheck | None = None
        self._sign: NodeSign | None = None
        self._is_ended = False  # the job, before its worker came

    async def run(self) -> list[Route]:
        """Start a worker where the cluster is ours, and return what reaches what.

        Raises:
            BackendStartError: there is neither a worker nor a node to tell of.
        """
        config = self._config
        is_ours = config.is_local or config.cluster_class is not None
        async with self._node_check() as kwargs:
            if is_ours:
                config = _smallest(config, kwargs)
            lease = await self._in_time(obtain_lease(config), "the cluster did not come up")
            try:
                if is_ours and lease.cluster is not None:
                    await in_thread(lease.cluster.scale, 1)
                return await self._try(lease)
            finally:
                await lease.end()

    @asynccontextmanager
    async def _node_check(self) -> AsyncIterator[dict[str, Any]]:
        """Have the jobs of a cluster of dask-jobqueue connect here before they start a worker."""
        kwargs = dict(self._config.cluster_kwargs)
        if self._config.cluster_class is None:
            yield kwargs
            return
        cls = import_class(self._config.cluster_class)
        if not is_job_queue(cls):
            if "n_workers" in inspect.signature(cls).parameters:
                kwargs["n_workers"] = 0
            yield kwargs
            return
        place = kwargs.get("log_directory") or "."  # jobs begin in the folder of the program
        Path(place).mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
        folder = Path(tempfile.mkdtemp(prefix="asyncflow-doctor-", dir=place)).absolute()  # noqa: ASYNC240
        try:
            with NodeCheck(folder) as self._check:
                yield _job_settings(cls, kwargs, self._check.line, self._limit_s)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _in_time(self, step: Any, otherwise: str) -> Any:
        try:
            async with asyncio.timeout(self._limit_s):
                return await step
        except TimeoutError as error:
            raise BackendStartError(f"{otherwise} within {self._limit_s:g} s") from error
        except (OSError, ImportError, AttributeError) as error:
            raise BackendStartError(f"{otherwise}: {safe_str(error)}") from error

    async def _try(self, lease: Lease) -> list[Route]:
        if self._check is not None:
            url = urlsplit(lease.address)
            self._check.aim((url.hostname or "", url.port or 0))
        options = {} if lease.security is None else {"security": lease.security}
        client = Client(
            lease.address,
            asynchronous=True,
            set_as_default=False,
            timeout=self._limit_s,
            **options,
        )
        try:
            await self._in_time(client, f"no scheduler answered at {lease.address}")
            workers = await self._workers(client, lease)
            knocks = await self._knocks()
            if not workers and not knocks:
                raise BackendStartError(await in_thread(lease.describe_missing_workers))
            routes = [await self._route_of(lease, workers, knocks)]
            routes += [await self._route_to(client, each) for each in _one_for_each_host(workers)]
            routes += [
                Route(
                    address=_title(knock),
                    origin=self._origin(),
                    problem=knock.problem,
                    used=False,
                )
                for knock in knocks
                if knock.address != urlsplit(lease.address).hostname
            ]
            return routes
        finally:
            await client.close()

    async def _workers(self, client: Client, lease: Lease) -> dict[str, Mapping[str, Any]]:
        """Wait for a worker; return all that are there, by their addresses."""
        self._tell(f"waiting for a worker at {lease.address}, {self._wait_s:g} s at most")
        deadline = time.monotonic() + self._wait_s
        told, next_look_at = "", 0.0
        while True:
            workers = dict((await client.scheduler.identity())["workers"])
            now = time.monotonic()
            if workers or now >= deadline or self._is_ended:
                return workers
            if self._sign is None and self._check is not None:
                self._sign = self._check.sign()
                if self._sign is not None:
                    deadline = now + self._limit_s
                    self._tell(f"{self._origin()}: it starts a worker, {self._limit_s:g} s at most")
            if now >= next_look_at:
                next_look_at = now + _STATE_POLL_S
                state = await in_thread(self._job_states, lease.cluster)
                if state and state != told:
                    told = state
                    self._tell(state)
            await asyncio.sleep(_POLL_S)

    def _job_states(self, cluster: Any) -> str:
        """Return the states of the jobs of *cluster*, and note whether all have ended."""
        jobs = [(job, job_state(job.id, job.system)) for job in find_batch_jobs(cluster)]
        ended = [state.partition(" ")[0].rstrip(",") in SLURM_END_STATES for _, state in jobs]
        self._is_ended = bool(ended) and all(ended)
        return "; ".join(f"job {job.id}: {state}" for job, state in jobs if state)

    async def _knocks(self) -> list[Knock]:
        """Return what a node of the batch system reached; nothing if it does not tell in time."""
        if self._check is None:
            return []
        self._sign = self._sign or self._check.sign()
        deadline = time.monotonic() + (self._limit_s if self._sign else 0)
        while True:
            try:
                knocks = self._check.outcome()
            except RuntimeError as error:
                self._tell(f"{self._origin()}: its shell could not run Python: {error}")
                return []
            if knocks is not None or time.monotonic() >= deadline:
                return knocks or []
            await asyncio.sleep(_POLL_S)

    async def _route_of(
        self,
        lease: Lease,
        workers: Mapping[str, Mapping[str, Any]],
        knocks: Sequence[Knock],
    ) -> Route:
        """Return the way from a worker to the scheduler."""
        used = urlsplit(lease.address).hostname
        knock = next((one for one in knocks if one.address == used), Knock("", "", ""))
        address = lease.address + (f" ({knock.interface})" if knock.interface else "")
        if workers:
            host = next(iter(workers.values()))["host"]
            count = f"{len(workers)} workers, one" if len(workers) > 1 else "a worker"
            origin = self._origin() if self._sign else f"{count} on {host}"
            return Route(address=address, origin=origin)
        reached = [one.interface for one in knocks if not one.problem and one.address != used]
        missing = await in_thread(lease.describe_missing_workers)
        return Route(
            address=address,
            origin=self._origin(),
            problem=knock.problem or f"its worker did not connect within {self._limit_s:g} s",
            advice=f"{_advice(reached)}\n{missing}" if knock.problem else missing,
        )

    async def _route_to(self, client: Client, address: str) -> Route:
        """Return the way from the scheduler to the worker at *address*."""
        problem = advice = node = ""
        try:
            async with asyncio.timeout(self._limit_s):
                answers = await client.run(socket.gethostname, workers=[address], on_error="return")
            answer = answers.get(address)
            problem = safe_str(answer) if isinstance(answer, Exception) else ""
            node = f", on {answer}" if isinstance(answer, str) else ""
        except TimeoutError:
            problem = f"no answer within {self._limit_s:g} s"
        except (OSError, ValueError) as error:
            problem = safe_str(error)
        if problem:
            advice = (
                "Check that no firewall between this machine and the nodes refuses connections to "
                "the workers, and that they announce an address that the scheduler knows (the "
                "options interface, host or contact-address of a worker)."
            )
        return Route(
            address=f"{address} (worker)",
            origin=f"the scheduler{node}",
            problem=problem,
            advice=advice,
        )

    def _origin(self) -> str:
        if self._sign is None:
            return "a worker"
        return f"node {self._sign.node}" + (f", job {self._sign.job}" if self._sign.job else "")


def _smallest(config: DaskConfig, kwargs: Mapping[str, Any]) -> DaskConfig:
    """Return *config* for a cluster whose only worker is started by hand."""
    changes: dict[str, Any] = {"adapt": None, "cluster_kwargs": dict(kwargs)}
    if config.is_local:
        changes["n_workers"] = 1
    return config.model_copy(update=changes)


def _job_settings(cls: Any, kwargs: Mapping[str, Any], line: str, limit_s: float) -> dict[str, Any]:
    """Return *kwargs* of a class of dask-jobqueue for a short job that runs *line* first."""
    settings = {**kwargs, "n_workers": 0}
    system = settings.get("config_name") or cls.job_cls.default_config_name()

    def value(name: str) -> Any:
        given = settings.get(name)
        key = f"jobqueue.{system}.{name.replace('_', '-')}"
        return dask.config.get(key, None) if given is None else given

    settings["job_script_prologue"] = [*(value("job_script_prologue") or ()), line]
    minutes = math.ceil(2 * limit_s / 60) + _SPARE_MINUTES
    walltime = value("walltime")
    is_clock = isinstance(walltime, str) and walltime.count(":") == 2
    if is_clock and parse_duration(walltime) > 60 * minutes:
        settings["walltime"] = f"{minutes // 60:02}:{minutes % 60:02}:00"
    return settings


def _one_for_each_host(workers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    by_host = {str(worker["host"]): address for address, worker in workers.items()}
    return sorted(by_host.values())


def _title(knock: Knock) -> str:
    return knock.address + (f" ({knock.interface})" if knock.interface else "")


def _advice(reached: Sequence[str]) -> str:
    """Say what to do about a scheduler's address that the node does not reach."""
    check = (
        "Check that no firewall between the nodes and this machine refuses connections, and that "
        "the nodes have a route to this address."
    )
    names = " or ".join(map(repr, filter(None, reached)))
    if not names:
        return f"{check} No other address of this machine was reached either."
    return (
        f"Put scheduler_options={{'interface': {names}}} into cluster_kwargs: the node reached "
        f"that interface. {check}"
    )
