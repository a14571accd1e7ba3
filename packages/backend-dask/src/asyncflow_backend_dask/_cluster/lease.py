"""Where the scheduler is: one that was given, one that is made, one in a process of its own."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

from distributed import LocalCluster, Security
from radical.asyncflow.aside import in_thread
from radical.asyncflow.errors import BackendStartError
from radical.asyncflow.worker import child_environment, guard

from .._worker.gpus import HOSTED
from ..config import DaskConfig, import_class

__all__ = ["Lease", "lease"]

_SATURATION = float("inf")  # tasks wait on the workers: no round trip between two of them
_PATIENT = 1_000_000  # deaths that Dask overlooks on an own cluster: the backend counts
_LEAVING = 4.0  # seconds for the processes of an own cluster to end by themselves
_CLOSING = 20.0  # seconds for a cluster object to close


class Lease(Protocol):
    """A scheduler that may be used until `end`.

    Attributes:
        address: of the scheduler.
        security: what to connect with.
        direct: its workers can be reached from here.
    """

    address: str
    security: Any
    dashboard_link: str | None
    direct: bool

    async def end(self) -> None:
        """Take down what was made for it."""


async def lease(config: DaskConfig) -> Lease:
    """A scheduler as *config* asks; cancelling this leaves nothing behind.

    Raises:
        BackendStartError: it could not be started.
    """
    security = _security(config.security)
    if config.client is not None:
        scheduler = config.client.scheduler
        if scheduler is None:
            raise BackendStartError("the given client is not connected to a scheduler")
        link = getattr(config.client, "dashboard_link", None)
        return _Guest(scheduler.address, security or config.client.security, link)
    if config.cluster is not None:
        cluster = config.cluster
        link = getattr(cluster, "dashboard_link", None)
        return _Guest(cluster.scheduler_address, security or cluster.security, link)
    if config.address is not None:
        return _Guest(config.address, security, None)
    if config.scheduler_file is not None:
        return _Guest(await _address_in(config.scheduler_file), security, None)
    if config.cluster_class is not None:
        try:
            cls = import_class(config.cluster_class)
        except (ImportError, AttributeError) as exc:
            raise BackendStartError(
                f"cluster_class {config.cluster_class!r} cannot be imported: {exc}"
            ) from exc
        options = dict(config.cluster_kwargs)
        if security is not None:
            options["security"] = security
        return await _Made.make(lambda: cls(**options), config, security)
    if not config.processes:
        return await _Made.make(lambda: _threads(config, security), config, security)
    return await _Hosted.start(config, security)


def _security(value: Any) -> Any:
    if value is True:
        return Security.temporary()
    return Security(**value) if isinstance(value, dict) else value


async def _address_in(file: str) -> str:
    """The address that a scheduler writes there, as soon as it does."""
    import json
    from pathlib import Path

    path = Path(file)
    while True:
        with suppress(FileNotFoundError, ValueError):
            return str(json.loads(path.read_text())["address"])  # noqa: ASYNC240 - a few bytes
        await asyncio.sleep(0.05)


class _Guest:
    """A scheduler of somebody else's."""

    def __init__(self, address: str, security: Any, dashboard_link: str | None) -> None:
        self.address = address
        self.security = security
        self.dashboard_link = dashboard_link
        self.direct = address.startswith("inproc://")

    async def end(self) -> None:
        """It is not ours."""


class _Made:
    """A cluster object that was made here; it keeps a thread and a loop of its own."""

    def __init__(self, cluster: Any, security: Any) -> None:
        self._cluster = cluster
        self.address: str = cluster.scheduler_address
        self.security = security or getattr(cluster, "security", None)
        self.dashboard_link: str | None = getattr(cluster, "dashboard_link", None) or None
        self.direct = self.address.startswith("inproc://")
        if self.direct and self.dashboard_link:
            # Dask names this machine's outer address, at which nobody listens.
            port = urlsplit(self.dashboard_link).port
            self.dashboard_link = f"http://127.0.0.1:{port}/status"

    @classmethod
    async def make(cls, make: Callable[[], Any], config: DaskConfig, security: Any) -> _Made:
        abandoned = False

        def begin() -> Any:
            cluster = make()
            if abandoned:
                cluster.close()
            elif config.adapt is not None:
                cluster.adapt(minimum=config.adapt.minimum, maximum=config.adapt.maximum)
            return cluster

        try:
            return cls(await in_thread(begin), security)
        except asyncio.CancelledError:
            abandoned = True
            raise
        except Exception as exc:
            raise BackendStartError(
                f"the cluster could not be made: {type(exc).__name__}: {exc}"
            ) from exc

    async def end(self) -> None:
        await in_thread(self._cluster.close, _CLOSING)


def _threads(config: DaskConfig, security: Any) -> Any:
    adapt = config.adapt
    return LocalCluster(
        n_workers=adapt.minimum if adapt else config.n_workers or 1,
        threads_per_worker=config.threads_per_worker,
        processes=False,
        memory_limit=0 if config.memory_limit is None else config.memory_limit,
        resources=config.resources,
        security=security,
        **_dashboard(config),
    )


def _dashboard(config: DaskConfig) -> dict[str, Any]:
    """A scheduler without a dashboard listens all the same; then here, where nobody looks."""
    address = config.dashboard_address
    return {
        "dashboard_address": address or "127.0.0.1:0",
        "worker_dashboard_address": "127.0.0.1:0",
        "scheduler_kwargs": {"dashboard": address is not None},
    }


class _Hosted:
    """A cluster on this machine, in processes of its own (see `_host`)."""

    direct = True

    def __init__(self, process: subprocess.Popen[bytes], folder: str, security: Any) -> None:
        self._process = process
        self._folder = folder
        self.security = security
        self.address = ""
        self.dashboard_link: str | None = None

    @classmethod
    async def start(cls, config: DaskConfig, security: Any) -> _Hosted:
        folder = tempfile.mkdtemp(prefix="asyncflow-dask-")
        read, write = os.pipe()
        try:
            settings = pickle.dumps(_settings(config, security, folder))
            process = await in_thread(_spawn, write)
        except BaseException:
            os.close(read)
            os.close(write)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        os.close(write)
        hosted = cls(process, folder, security)
        try:
            assert process.stdin is not None
            process.stdin.write(settings)
            answer = await _answer(read)
            if "error" in answer:
                raise BackendStartError(f"the local cluster did not start: {answer['error']}")
            hosted.address = answer["address"]
            hosted.dashboard_link = answer["dashboard"] or None
        except BaseException:
            await hosted.end()
            raise
        finally:
            os.close(read)
        return hosted

    async def end(self) -> None:
        await in_thread(self._end)

    def _end(self) -> None:
        process = self._process
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LEAVING)
        # Whoever is left of its group: a worker that did not end, or a host that hangs.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        guard().forget(process.pid)
        shutil.rmtree(self._folder, ignore_errors=True)


def _spawn(answer: int) -> subprocess.Popen[bytes]:
    guard().start()
    process = subprocess.Popen(
        [sys.executable, "-m", "asyncflow_backend_dask._cluster.host", str(answer)],
        stdin=subprocess.PIPE,
        pass_fds=(answer,),
        env={**os.environ, **child_environment(), **_environment()},
        start_new_session=True,
        bufsize=0,
    )
    guard().watch(process.pid)
    return process


def _environment() -> dict[str, str]:
    """What the host needs to find this package, and not to complain when it is killed."""
    known = os.environ.get("PYTHONWARNINGS")
    quiet = "ignore:resource_tracker:UserWarning"
    return {
        HOSTED: "1",
        "PYTHONPATH": os.pathsep.join(_path()),
        "PYTHONWARNINGS": f"{known},{quiet}" if known else quiet,
    }


def _path() -> list[str]:
    return [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - "" is the folder


def _settings(config: DaskConfig, security: Any, folder: str) -> dict[str, Any]:
    adapt = config.adapt
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = max(1, (cores or 1) // config.threads_per_worker)
    if config.n_workers is not None:
        workers = config.n_workers
    cluster: dict[str, Any] = {
        "n_workers": adapt.minimum if adapt else workers,
        "threads_per_worker": config.threads_per_worker,
        "processes": True,
        "host": "127.0.0.1",
        **_dashboard(config),
        "local_directory": folder,
        "resources": config.resources,
    }
    if config.memory_limit is not None:
        cluster["memory_limit"] = config.memory_limit
    if security is not None:
        cluster["security"] = security
    return {
        "path": _path(),
        "cluster": cluster,
        "adapt": adapt and {"minimum": adapt.minimum, "maximum": adapt.maximum},
        "config": {
            "distributed.scheduler.worker-saturation": _SATURATION,
            "distributed.scheduler.allowed-failures": _PATIENT,
            # The host looks for workers that are missing: one that starts slowly is none.
            "distributed.deploy.lost-worker-timeout": "1 day",
            "distributed.admin.large-graph-warning-threshold": "1 TB",
        },
    }


async def _answer(descriptor: int) -> dict[str, Any]:
    """What the host says; an error if it ends without a word."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    data = b""
    os.set_blocking(descriptor, False)
    loop.add_reader(descriptor, ready.set)
    try:
        while True:
            await ready.wait()
            ready.clear()
            try:
                piece = os.read(descriptor, 65536)
            except BlockingIOError:
                continue
            if not piece:
                break
            data += piece
    finally:
        loop.remove_reader(descriptor)
    if not data:
        return {"error": "its process ended before it was up"}
    answer: dict[str, Any] = pickle.loads(data)
    return answer
