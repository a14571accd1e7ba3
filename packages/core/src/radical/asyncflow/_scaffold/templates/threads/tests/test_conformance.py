"""The contract of a backend, as some two hundred checks."""

from __future__ import annotations

from radical.asyncflow.testing import BackendConformance

from asyncflow_skeleton.backend import SkeletonBackend
from asyncflow_skeleton.config import SkeletonConfig


class TestContract(BackendConformance):
    backend_name = "skeleton"
    slots = 2
    unmet_needs = frozenset(
        {
            "chains",
            "cores",
            "executable",
            "instances",
            "isolates",
            "kills executables",
            "kills functions",
            "markers",
            "native dependencies",
            "pickles",
            "prompt",
            "remote results",
            "service",
        }
    )

    def make_backend(self) -> SkeletonBackend:
        return SkeletonBackend(SkeletonConfig(max_workers=2))
