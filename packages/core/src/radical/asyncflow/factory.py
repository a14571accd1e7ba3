"""Backends by name: ``backend = await factory.create_backend("concurrent", config={...})``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._discovery.registry import registry
from .backend import ExecutionBackend
from .registry import list_available_backends

__all__ = ["create_backend", "create_backend_sync", "list_available_backends"]


async def create_backend(
    name: str, /, config: Mapping[str, Any] | None = None, **more: Any
) -> ExecutionBackend:
    """Make an instance of the backend *name* for `WorkflowEngine.create`, which starts it.

    *config* and the keywords together are its settings.  A ``name=`` among them is the name of
    the instance itself, for an engine with several backends of one kind.

    Raises:
        BackendNotFoundError: the backend is unknown, not installed, or lacks a requirement.
        BackendBrokenError: the backend does not load; ``__cause__`` is the real error.
        BackendIncompatibleError: it was written for another core, contract or Python.
        ConfigurationError: the settings are wrong; the error lists every problem.
    """
    return registry.create(name, config, **more)


def create_backend_sync(
    name: str, /, config: Mapping[str, Any] | None = None, **more: Any
) -> ExecutionBackend:
    """Do the same as `create_backend`, and raise the same, for code that cannot await."""
    return registry.create(name, config, **more)
