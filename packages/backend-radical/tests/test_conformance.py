"""The backend keeps the contract of backends, on a real pilot that the checks share."""

from __future__ import annotations

from asyncflow_backend_radical import RadicalExecutionBackend
from radical.asyncflow.testing import BackendConformance


class TestLocalPilot(BackendConformance):
    slots = 8
    load = 50
    travel = 0.2
    backend_scope = "class"
    unmet_needs = frozenset(
        {
            "prompt",
            "markers",
            "plugin",
            "chains",
            "contexts",
            "priorities",
            "instances",
            "native dependencies",
            "remote results",
            "spares functions",
            "shares memory",
        }
    )

    def make_backend(self) -> RadicalExecutionBackend:
        return RadicalExecutionBackend(cores=8, walltime=20)
