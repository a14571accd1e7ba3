"""The hook by which radical.asyncflow finds this backend."""

from __future__ import annotations

from radical.asyncflow.backend import BackendSpec, hookimpl

from .capabilities import CAPABILITIES

__all__ = ["asyncflow_backend"]


@hookimpl
def asyncflow_backend() -> BackendSpec:
    return BackendSpec(
        name="radical_pilot",
        summary="Runs tasks on supercomputers (and here), on a pilot of RADICAL-Pilot",
        factory="asyncflow_backend_radical.backend:RadicalExecutionBackend",
        config_model="asyncflow_backend_radical.config:RadicalConfig",
        capabilities=CAPABILITIES,
        requirements=("radical.pilot>=1.103",),
    )
