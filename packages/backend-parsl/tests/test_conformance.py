"""The backend keeps the contract of backends, on a block of this machine and on one of Slurm."""

from __future__ import annotations

import pytest
from asyncflow_backend_parsl import ParslExecutionBackend
from asyncflow_backend_parsl.config import SlurmConfig
from radical.asyncflow.testing import BackendConformance
from slurm_cluster import CORES


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
            "native dependencies",
            "remote results",
            "spares functions",
            "shares memory",
        }
    )

    def make_backend(self) -> ParslExecutionBackend:
        return ParslExecutionBackend(max_workers_per_node=2, grace=1.0)


@pytest.mark.soak
@pytest.mark.usefixtures("slurm")
class TestSlurmBlock(TestLocalBlock):
    backend_name = "slurm"
    travel = 2.0

    def make_backend(self) -> ParslExecutionBackend:
        settings = SlurmConfig(
            partition="debug",
            walltime="00:30:00",
            exclusive=False,
            cores_per_node=CORES,
            max_workers_per_node=2,
            grace=1.0,
        )
        return ParslExecutionBackend(settings, name="slurm")
