"""The backend keeps the contract of backends, on a real block of this machine."""

from __future__ import annotations

from asyncflow_backend_parsl import ParslExecutionBackend
from radical.asyncflow.testing import BackendConformance


class TestLocalBlock(BackendConformance):
    backend_name = "parsl"
    slots = 2
    load = 1_000
    travel = 1.0
    backend_scope = "class"
    unmet_needs = frozenset(
        {
            "prompt",
            "markers",
            "contexts",
            "instances",
            "native dependencies",
            "remote results",
            "spares functions",
            "shares memory",
        }
    )

    def make_backend(self) -> ParslExecutionBackend:
        return ParslExecutionBackend(max_workers_per_node=2, grace=1.0)
