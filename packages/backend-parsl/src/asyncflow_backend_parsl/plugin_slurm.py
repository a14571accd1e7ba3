"""The hook by which radical.asyncflow finds the backend `slurm`."""

from __future__ import annotations

from radical.asyncflow.backend import BackendSpec, hookimpl

from .capabilities import CAPABILITIES

__all__ = ["asyncflow_backend"]


@hookimpl
def asyncflow_backend() -> BackendSpec:
    return BackendSpec(
        name="slurm",
        summary="Runs tasks on the nodes of a Slurm cluster, by Parsl",
        factory="asyncflow_backend_parsl.backend:ParslExecutionBackend",
        config_model="asyncflow_backend_parsl.config:SlurmConfig",
        capabilities=CAPABILITIES,
        requirements=("parsl>=2025.1",),
    )
