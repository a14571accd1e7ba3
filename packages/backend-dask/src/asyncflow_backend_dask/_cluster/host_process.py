"""The program's side of a local cluster: it starts and ends the process of `host`."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from radical.asyncflow.aside import in_thread
from radical.asyncflow.errors import BackendStartError
from radical.asyncflow.worker import (
    child_environment,
    found_gpus,
    guard,
    kill_tree,
    program_arguments,
    start_guarded,
)

from .._worker.call_file import BegunCalls, call_files_below, read_begun_calls
from .._worker.gpus import LOCAL_CLUSTER_VARIABLE, OWN_GPUS_VARIABLE
from ..config import DaskConfig
from .import_path import ImportPath
from .offers import WorkerOffers

__all__ = ["LocalClusterHost", "dashboard_options"]

_WORKER_SATURATION = 2.0  # for each thread one task runs, and one waits on the worker
_DEATHS_DASK_ALLOWS = 1_000_000  # so that Dask never gives a task up: the backend counts deaths
_EXIT_TIMEOUT_S = 4.0  # for the processes of a local cluster to end by themselves


class LocalClusterHost:
    """A local cluster in processes of its own; a `Lease`."""

    direct = True
    cluster = None

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        environment: Mapping[str, str],
        folder: str,
        path: ImportPath,
        security: Any,
    ) -> None:
        self._process = process
        self._environment = environment
        self._folder = folder
        self.changed_path = path.changed
        self.security = security
        self.address = ""
        self.dashboard_link: str | None = None

    @classmethod
    async def start(cls, config: DaskConfig, security: Any) -> LocalClusterHost:
        """Start a local cluster; cancelling this leaves nothing behind.

        Raises:
            BackendStartError: it does not come up.
        """
        path = ImportPath()
        environment = child_environment()
        folder = tempfile.mkdtemp(prefix="asyncflow-dask-")
        read, write = os.pipe()
        try:
            # In a thread, because it looks for GPUs.
            settings = await in_thread(_settings, config, security, folder, path.at_start)
            pickled = pickle.dumps(settings)
            process = await in_thread(_spawn, write, environment, path.at_start)
        except BaseException:
            os.close(read)
            os.close(write)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        os.close(write)
        host = cls(process, environment, folder, path, security)
        try:
            assert process.stdin is not None
            process.stdin.write(pickled)
            answer = await _read_answer(read)
            if "error" in answer:
                raise BackendStartError(f"the local cluster did not start: {answer['error']}")
            host.address = answer["address"]
            host.dashboard_link = answer["dashboard"] or None
        except BaseException:
            await host.end()
            raise
        finally:
            os.close(read)
        return host

    def describe_missing_workers(self) -> str:
        """Say that no worker has come, and what to check."""
        return (
            f"no worker of the local cluster has come to its scheduler at {self.address}. Give it "
            "longer (startup_timeout) on a busy machine; else check that there is memory for the "
            "workers, and what they log"
        )

    async def end_at_once(self, topic: str) -> BegunCalls | None:
        """Kill all processes of a lost cluster; return what had begun on its workers.

        None means that a call file cannot be read.
        """
        return await in_thread(self._kill, topic)

    def _kill(self, topic: str) -> BegunCalls | None:
        kill_tree(self._process.pid, self._environment)
        all_begun, oldest = set(), set()
        is_complete = True
        try:
            for file in call_files_below(self._folder):
                begun = read_begun_calls(file, topic)
                all_begun |= begun.all
                oldest |= begun.oldest
                is_complete &= begun.is_complete
        except OSError:
            return None
        return BegunCalls(all_begun, oldest, {}, is_complete)

    async def end(self) -> None:
        """End the cluster, by force if it does not end by itself."""
        await in_thread(self._end)

    def _end(self) -> None:
        process = self._process
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_TIMEOUT_S)
        # Whatever is left: a worker that did not end, a host that hangs, or what tasks started.
        kill_tree(process.pid, self._environment)
        process.wait()
        guard().forget(process.pid)
        shutil.rmtree(self._folder, ignore_errors=True)


def dashboard_options(config: DaskConfig) -> dict[str, Any]:
    """Return the options of a `LocalCluster` for its dashboard.

    Without a dashboard the scheduler opens a port all the same: then on the loopback.
    """
    address = config.dashboard_address
    return {
        "dashboard_address": address or "127.0.0.1:0",
        "worker_dashboard_address": "127.0.0.1:0",
        "scheduler_kwargs": {"dashboard": address is not None},
    }


def _spawn(answer: int, environment: Mapping[str, str], path: list[str]) -> subprocess.Popen[bytes]:
    """Start the process, which answers on the descriptor *answer*."""
    return start_guarded(
        [sys.executable, "-m", "asyncflow_backend_dask._cluster.host", str(answer)],
        stdin=subprocess.PIPE,
        pass_fds=(answer,),
        env={**os.environ, **environment, **_environment(path)},
        bufsize=0,
    )


def _environment(path: list[str]) -> dict[str, str]:
    """Return what the host needs to find this package, and to be silent when it is killed."""
    known = os.environ.get("PYTHONWARNINGS")
    quiet = "ignore:resource_tracker:UserWarning"
    return {
        LOCAL_CLUSTER_VARIABLE: "1",
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONWARNINGS": f"{known},{quiet}" if known else quiet,
    }


def _settings(config: DaskConfig, security: Any, folder: str, path: list[str]) -> dict[str, Any]:
    """Return what the host is to start."""
    adapt = config.adapt
    offers = WorkerOffers(config)
    variable = found_gpus().variable
    cluster: dict[str, Any] = {
        "n_workers": adapt.minimum if adapt else offers.workers,
        "threads_per_worker": config.threads_per_worker,
        "processes": True,
        "host": "127.0.0.1",
        **dashboard_options(config),
        "local_directory": folder,
    }
    if config.memory_limit is not None:
        cluster["memory_limit"] = config.memory_limit
    if security is not None:
        cluster["security"] = security
    return {
        "path": path,
        "argv": program_arguments(),
        "cluster": cluster,
        "resources": [offers.of(number) for number in range(offers.workers)],
        "gpus": [
            {variable: ",".join(map(str, gpus)), OWN_GPUS_VARIABLE: variable}
            for gpus in offers.gpus
        ],
        "adapt": adapt and adapt.options(),
        "config": {
            "distributed.scheduler.worker-saturation": _WORKER_SATURATION,
            "distributed.scheduler.allowed-failures": _DEATHS_DASK_ALLOWS,
            # The host replaces missing workers itself, and gives a slow one more time.
            "distributed.deploy.lost-worker-timeout": "1 day",
            # A daemon may have no children, but a task may use multiprocessing.
            "distributed.worker.daemon": False,
            "distributed.admin.large-graph-warning-threshold": "1 TB",
        },
    }


async def _read_answer(descriptor: int) -> dict[str, Any]:
    """Return what the host says; an error if it ends without an answer."""
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
        return {"error": "its process ended before the cluster was up"}
    answer: dict[str, Any] = pickle.loads(data)
    return answer
