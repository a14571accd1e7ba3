"""A scheduler to use: one that is given, one in a cluster object, or one of a local cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from distributed import LocalCluster, Security
from distributed.deploy import Cluster
from radical.asyncflow.aside import in_thread
from radical.asyncflow.errors import BackendStartError
from radical.asyncflow.worker import safe_str

from .._worker.call_file import BegunCalls
from ..adapt import unknown_words
from ..config import DaskConfig, import_class
from .batch_jobs import describe_batch_jobs, find_batch_jobs
from .host_process import LocalClusterHost, dashboard_options
from .offers import WorkerOffers

__all__ = ["Lease", "obtain_lease"]

_CLUSTER_CLOSE_TIMEOUT_S = 20.0  # for a cluster object to close
_CLUSTER_METHODS = ("adapt", "close", "scale")  # what every class of clusters has
_SCHEDULER_FILE_POLL_S = 0.05  # between two looks for the file of a scheduler


class Lease(Protocol):
    """A scheduler that may be used until `end`.

    Attributes:
        address: the address of the scheduler.
        security: the `distributed.Security` to connect with, or None.
        direct: whether its workers can be reached from here.
        cluster: the cluster object that was made; None if there is none in this process.
    """

    address: str
    security: Any
    dashboard_link: str | None
    direct: bool
    cluster: Any

    def changed_path(self) -> tuple[str, ...] | None:
        """Return the ``sys.path`` that the workers must take over; None to leave theirs alone."""

    def describe_missing_workers(self) -> str:
        """Say that no worker has come, and what to check; it may take some seconds."""

    async def end_at_once(self, topic: str) -> BegunCalls | None:
        """End what is left of a lost cluster, so that nothing begins there any more.

        Returns:
            The calls of *topic* that had begun there; None if nobody knows, or if something
            may still begin.
        """

    async def end(self) -> None:
        """Take down what was started for it."""


async def obtain_lease(config: DaskConfig) -> Lease:
    """Return a scheduler as *config* asks; cancelling this leaves nothing behind.

    Raises:
        BackendStartError: it could not be started.
    """
    security = _security(config.security)
    if config.client is not None:
        scheduler = config.client.scheduler
        if scheduler is None:
            raise BackendStartError("the given client is not connected to a scheduler")
        link = getattr(config.client, "dashboard_link", None)
        return _GivenScheduler(scheduler.address, security or config.client.security, link)
    if config.cluster is not None:
        cluster = config.cluster
        link = getattr(cluster, "dashboard_link", None)
        return _GivenScheduler(cluster.scheduler_address, security or cluster.security, link)
    if config.address is not None:
        return _GivenScheduler(config.address, security, None)
    if config.scheduler_file is not None:
        return _GivenScheduler(await _address_in(Path(config.scheduler_file)), security, None)
    if config.cluster_class is not None:
        return await _OwnCluster.make(_constructor(config, security), config, security)
    if not config.processes:
        return await _OwnCluster.make(lambda: _in_threads(config, security), config, security)
    return await LocalClusterHost.start(config, security)


def _security(value: Any) -> Any:
    if value is True:
        return Security.temporary()
    return Security(**value) if isinstance(value, dict) else value


async def _address_in(file: Path) -> str:
    """Return the address that a scheduler writes into *file*, as soon as it does."""
    while True:
        with suppress(FileNotFoundError, ValueError):
            return str(json.loads(file.read_text())["address"])  # noqa: ASYNC240 - a few bytes
        await asyncio.sleep(_SCHEDULER_FILE_POLL_S)


def _constructor(config: DaskConfig, security: Any) -> Callable[[], Any]:
    """Return what makes an instance of the ``cluster_class``.

    Raises:
        BackendStartError: the class cannot be imported, is not that of a cluster, or does not
            take what adapt says.
    """
    try:
        cls = import_class(config.cluster_class)
    except (ImportError, AttributeError) as exc:
        raise BackendStartError(
            f"cluster_class {config.cluster_class!r} cannot be imported: {exc}"
        ) from exc
    # A program that passes an object has looked at it; a name may come from a file.
    if isinstance(config.cluster_class, str) and not _is_cluster_class(cls):
        raise BackendStartError(
            f"cluster_class {config.cluster_class!r} is not the class of a Dask cluster, such as "
            "'distributed.LocalCluster' or 'dask_jobqueue.SLURMCluster'"
        )
    if config.adapt is not None and (problem := unknown_words(config.adapt, cls)):
        raise BackendStartError(problem)
    options = dict(config.cluster_kwargs)
    if security is not None:
        options["security"] = security
    return lambda: cls(**options)


def _is_cluster_class(cls: Any) -> bool:
    """Tell whether *cls* makes clusters; some are not derived from Dask's own class."""
    return isinstance(cls, type) and (
        issubclass(cls, Cluster) or all(hasattr(cls, name) for name in _CLUSTER_METHODS)
    )


class _GivenScheduler:
    """A scheduler of somebody else's."""

    def __init__(self, address: str, security: Any, dashboard_link: str | None) -> None:
        self.address = address
        self.security = security
        self.dashboard_link = dashboard_link
        self.direct = address.startswith("inproc://")
        self.cluster = None

    def changed_path(self) -> None:
        """Leave the workers their own path: they may be on another machine."""

    def describe_missing_workers(self) -> str:
        """Say that no worker has come, and what to check."""
        return (
            f"the scheduler at {self.address} has no worker. Start one, for example with `dask "
            f"worker {self.address}` on a node; if there is one, check that it reaches this "
            "address, and what it logs"
        )

    async def end_at_once(self, topic: str) -> None:
        """Do nothing: it is not ours, and its workers may go on for a while."""

    async def end(self) -> None:
        """Do nothing: it is not ours."""


class _OwnCluster:
    """A cluster object that the backend made; it has a thread and a loop of its own."""

    def __init__(self, cluster: Any, security: Any) -> None:
        self.cluster = cluster
        self.address: str = cluster.scheduler_address
        self.security = security or getattr(cluster, "security", None)
        self.dashboard_link: str | None = getattr(cluster, "dashboard_link", None) or None
        self.direct = self.address.startswith("inproc://")
        if self.direct and self.dashboard_link:
            # Dask names this machine's outer address, at which nobody listens.
            port = urlsplit(self.dashboard_link).port
            self.dashboard_link = f"http://127.0.0.1:{port}/status"

    @classmethod
    async def make(
        cls, constructor: Callable[[], Any], config: DaskConfig, security: Any
    ) -> _OwnCluster:
        is_abandoned = False

        def begin() -> Any:
            cluster = constructor()
            if is_abandoned:
                cluster.close()
            elif config.adapt is not None:
                cluster.adapt(**config.adapt.options())
            return cluster

        try:
            return cls(await in_thread(begin), security)
        except asyncio.CancelledError:
            is_abandoned = True
            raise
        except Exception as exc:
            raise BackendStartError(f"the cluster could not be made: {safe_str(exc)}") from exc

    def changed_path(self) -> None:
        """Leave the workers their own path: they are elsewhere, or in this process."""

    def describe_missing_workers(self) -> str:
        """Say that no worker has come, what its batch system says, and what to check."""
        cls = type(self.cluster)
        name = f"{cls.__module__.partition('.')[0]}.{cls.__qualname__}"
        told = f"no worker of {name} has come to its scheduler at {self.address}"
        jobs = find_batch_jobs(self.cluster)
        if not jobs:
            return f"{told}. Check that its workers reach this address, and what they log"
        return (
            f"{told}\n{describe_batch_jobs(jobs)}\n"
            "If a job still waits, raise startup_timeout, or take a faster queue. If it runs, or "
            "has failed, check that its node reaches this address, and that no firewall refuses "
            "that: `asyncflow doctor dask --from-node` tries each address of this machine from a "
            "node, and scheduler_options={'interface': NAME} in cluster_kwargs chooses one"
        )

    async def end_at_once(self, topic: str) -> None:
        """Do nothing: its workers may be anywhere."""

    async def end(self) -> None:
        await in_thread(self.cluster.close, _CLUSTER_CLOSE_TIMEOUT_S)


def _in_threads(config: DaskConfig, security: Any) -> Any:
    """Return a local cluster whose workers are threads of this program."""
    adapt = config.adapt
    return LocalCluster(
        n_workers=adapt.minimum if adapt else config.n_workers or 1,
        threads_per_worker=config.threads_per_worker,
        processes=False,
        memory_limit=0 if config.memory_limit is None else config.memory_limit,
        resources=WorkerOffers(config).of(0),  # all offer the same
        security=security,
        **dashboard_options(config),
    )
