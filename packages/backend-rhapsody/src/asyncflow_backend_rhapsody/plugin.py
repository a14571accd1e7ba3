"""The plugin by which radical.asyncflow finds this backend, and gives it objects of RHAPSODY."""

from __future__ import annotations

import sys
from typing import Any

from radical.asyncflow.backend import BackendSpec, ExecutionBackend, hookimpl

from .capabilities import CAPABILITIES

__all__ = ["asyncflow_adopt_backend", "asyncflow_backend"]


@hookimpl
def asyncflow_backend() -> BackendSpec:
    return BackendSpec(
        name="rhapsody",
        summary="Runs tasks on the backends of RHAPSODY, such as its dask and radical_pilot",
        factory="asyncflow_backend_rhapsody.backend:RhapsodyExecutionBackend",
        config_model="asyncflow_backend_rhapsody.config:RhapsodyConfig",
        capabilities=CAPABILITIES,
    )


@hookimpl
def asyncflow_adopt_backend(backend: Any) -> ExecutionBackend | None:
    # Where there is an object of RHAPSODY, its class is loaded.
    base = getattr(sys.modules.get("rhapsody.backends.base"), "BaseBackend", None)
    if base is None or not isinstance(backend, base):
        return None
    from .backend import RhapsodyExecutionBackend

    return RhapsodyExecutionBackend.of(backend)
