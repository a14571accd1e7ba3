"""Every configuration of the Dask backend keeps the contract of backends."""

from __future__ import annotations

from asyncflow_backend_dask import DaskExecutionBackend
from radical.asyncflow.testing import BackendConformance


class TestProcesses(BackendConformance):
    backend_name = "dask"
    slots = 2
    load = 1_000
    travel = 1.0
    backend_scope = "class"
    unmet_needs = frozenset(
        {
            "prompt",
            "markers",
            "kills functions",
            "shares memory",
            "contexts",
            "chains",
        }
    )

    def make_backend(self) -> DaskExecutionBackend:
        return DaskExecutionBackend(
            n_workers=2, allowed_failures=0, dashboard_address=None, grace=1.0
        )


class TestThreads(BackendConformance):
    slots = 2
    load = 1_000
    travel = 1.0
    backend_scope = "class"
    unmet_needs = frozenset(
        {
            "prompt",
            "markers",
            "kills functions",
            "shares memory",
            "contexts",
            "isolates",
            "chains",
            "plugin",
        }
    )

    def make_backend(self) -> DaskExecutionBackend:
        return DaskExecutionBackend(
            processes=False,
            threads_per_worker=2,
            resources={"CPU": 2},
            dashboard_address=None,
            grace=1.0,
        )
