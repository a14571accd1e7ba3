"""The contract of a backend, as some two hundred checks."""

from __future__ import annotations

from radical.asyncflow.testing import BackendConformance

from asyncflow_skeleton.backend import SkeletonBackend
from asyncflow_skeleton.config import SkeletonConfig


class TestContract(BackendConformance):
    backend_name = "skeleton"
    slots = 2
    load = 20  # each task is a job
    patience = 120.0
    travel = 1.0
    unmet_needs = frozenset(
        {
            "chains",
            "contexts",
            "instances",
            "markers",
            "native dependencies",
            "priorities",
            "prompt",
            "remote results",
            "service",
            "shares memory",
            "spares functions",
        }
    )

    def make_backend(self) -> SkeletonBackend:
        return SkeletonBackend(SkeletonConfig(max_cores=2))
