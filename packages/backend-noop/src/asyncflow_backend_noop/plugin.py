"""The plugin by which radical.asyncflow finds this backend."""

from __future__ import annotations

from radical.asyncflow.backend import BackendSpec, hookimpl

from .capabilities import CAPABILITIES

__all__ = ["asyncflow_backend"]


@hookimpl
def asyncflow_backend() -> BackendSpec:
    return BackendSpec(
        name="noop",
        summary="Runs nothing: walks the real graph of a workflow, as a dry run",
        factory="asyncflow_backend_noop.backend:NoopExecutionBackend",
        capabilities=CAPABILITIES,
    )
