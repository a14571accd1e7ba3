"""The plugin by which radical.asyncflow finds this backend."""

from __future__ import annotations

from radical.asyncflow.backend import BackendSpec, hookimpl

from .capabilities import local_capabilities

__all__ = ["asyncflow_backend"]


@hookimpl
def asyncflow_backend() -> BackendSpec:
    return BackendSpec(
        name="concurrent",
        summary="Runs tasks on this machine, in threads, processes, a loop or any given executor",
        factory="asyncflow_backend_concurrent.backend:ConcurrentExecutionBackend",
        config_model="asyncflow_backend_concurrent.config:ConcurrentConfig",
        capabilities=local_capabilities("thread"),
    )
