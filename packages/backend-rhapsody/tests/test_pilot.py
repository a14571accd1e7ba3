"""The contract, on RHAPSODY's backend for RADICAL-Pilot."""

from __future__ import annotations

import pytest
from asyncflow_backend_rhapsody import RhapsodyExecutionBackend
from radical.asyncflow.testing import BackendConformance

pytest.importorskip("radical.pilot")

pytestmark = pytest.mark.filterwarnings("ignore:Import `radical` modules:UserWarning")


class TestPilot(BackendConformance):
    slots = 2
    load = 10
    travel = 5.0
    patience = 120
    backend_scope = "class"
    unmet_needs = frozenset(
        {
            "chains",
            "contexts",
            "cores",
            "instances",
            "markers",
            "native dependencies",
            "plugin",
            "prompt",
            "remote results",
            "service",
            "shares memory",
            "spares functions",
        }
    )

    def make_backend(self) -> RhapsodyExecutionBackend:
        resources = {"resource": "local.localhost", "runtime": 60, "cores": 2}
        return RhapsodyExecutionBackend(
            backend="radical_pilot", options={"resources": resources}, grace=1.0
        )
