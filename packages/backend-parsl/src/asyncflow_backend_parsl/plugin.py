"""The hook by which radical.asyncflow finds the backend `parsl`."""

from __future__ import annotations

from radical.asyncflow.backend import BackendSpec, hookimpl

from .capabilities import CAPABILITIES

__all__ = ["asyncflow_backend"]


@hookimpl
def asyncflow_backend() -> BackendSpec:
    return BackendSpec(
        name="parsl",
        summary="Runs tasks on clusters and here, on nodes that Parsl gets from the batch system",
        factory="asyncflow_backend_parsl.backend:ParslExecutionBackend",
        config_model="asyncflow_backend_parsl.config:ParslConfig",
        capabilities=CAPABILITIES,
        requirements=("parsl>=2025.1",),
    )
