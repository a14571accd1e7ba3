"""Every configuration of the concurrent backend keeps the contract of backends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from radical.asyncflow.testing import BackendConformance
from radical.asyncflow.worker import usable_cores

_LOCAL = frozenset({"prompt", "markers", "native dependencies", "remote results"})


class TestThreads(BackendConformance):
    slots = 2
    backend_name = "concurrent"
    unmet_needs = _LOCAL | {"kills functions", "pickles", "isolates"}

    def make_backend(self) -> ConcurrentExecutionBackend:
        return ConcurrentExecutionBackend(grace=1.0, max_workers=2)


class TestAsync(BackendConformance):
    slots = min(2, usable_cores())  # for functions that are not async
    unmet_needs = _LOCAL | {"kills functions", "pickles", "isolates", "chains", "plugin"}

    def make_backend(self) -> ConcurrentExecutionBackend:
        return ConcurrentExecutionBackend(grace=1.0, max_workers=2, executor_type="async")


class TestProcesses(BackendConformance):
    slots = 2
    unmet_needs = _LOCAL | {"spares functions", "shares memory", "contexts", "plugin"}

    def make_backend(self) -> ConcurrentExecutionBackend:
        return ConcurrentExecutionBackend(grace=1.0, max_workers=2, executor_type="process")


class TestThreadPoolExecutor(BackendConformance):
    slots = 2
    unmet_needs = _LOCAL | {
        "kills functions",
        "pickles",
        "isolates",
        "cores",
        "chains",
        "instances",
        "plugin",
        "priorities",
    }

    def make_backend(self) -> ConcurrentExecutionBackend:
        return ConcurrentExecutionBackend(ThreadPoolExecutor(2), grace=1.0)
