"""The entry point by which radical.asyncflow finds this backend."""

from __future__ import annotations

from radical.asyncflow.backend import BackendSpec, hookimpl

from .capabilities import dask_capabilities

__all__ = ["asyncflow_backend"]


@hookimpl
def asyncflow_backend() -> BackendSpec:
    return BackendSpec(
        name="dask",
        summary="Runs whole graphs on a Dask cluster, here or anywhere; values stay on the workers",
        factory="asyncflow_backend_dask.backend:DaskExecutionBackend",
        config_model="asyncflow_backend_dask.config:DaskConfig",
        capabilities=dask_capabilities(),
    )
