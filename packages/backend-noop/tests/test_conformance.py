"""The noop backend keeps the contract of execution backends."""

from __future__ import annotations

from asyncflow_backend_noop import NoopExecutionBackend
from radical.asyncflow.testing import BackendConformance


class TestNoop(BackendConformance):
    slots = None
    inline = True
    backend_name = "noop"
    unmet_needs = frozenset(
        {
            "contexts",
            "executes",
            "kills executables",
            "kills functions",
            "native dependencies",
            "pickles",
            "remote results",
            "instances",
            "slots",
            "workers",
        }
    )

    def make_backend(self) -> NoopExecutionBackend:
        return NoopExecutionBackend()
