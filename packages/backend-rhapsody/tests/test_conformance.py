"""The contract, on the backends of RHAPSODY that run here."""

from __future__ import annotations

import pytest
from asyncflow_backend_rhapsody import RhapsodyExecutionBackend
from radical.asyncflow.testing import BackendConformance

_ALL = frozenset(
    {
        "chains",
        "cores",
        "instances",
        "isolates",
        "kills functions",
        "native dependencies",
        "prompt",
        "remote results",
        "service",
    }
)


class TestThreads(BackendConformance):
    backend_name = "rhapsody"
    slots = 2
    unmet_needs = _ALL | {"markers", "pickles"}

    def make_backend(self) -> RhapsodyExecutionBackend:
        return RhapsodyExecutionBackend(max_workers=2, grace=1.0)


@pytest.mark.slow
class TestProcesses(BackendConformance):
    slots = 2
    load = 2_000
    unmet_needs = _ALL | {"contexts", "markers", "plugin", "shares memory"}

    def make_backend(self) -> RhapsodyExecutionBackend:
        return RhapsodyExecutionBackend(executor_type="process", max_workers=2, grace=1.0)


class TestNoop(BackendConformance):
    slots = None
    inline = True
    unmet_needs = (_ALL - {"isolates"}) | {
        "contexts",
        "executes",
        "pickles",
        "plugin",
        "kills executables",
        "slots",
        "workers",
    }

    def make_backend(self) -> RhapsodyExecutionBackend:
        return RhapsodyExecutionBackend(backend="noop")


@pytest.mark.slow
class TestDask(BackendConformance):
    slots = 2
    load = 500
    travel = 1.0
    backend_scope = "class"
    unmet_needs = _ALL | {"contexts", "markers", "plugin", "shares memory"}

    def make_backend(self) -> RhapsodyExecutionBackend:
        resources = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
        return RhapsodyExecutionBackend(backend="dask", options={"resources": resources}, grace=1.0)
