"""The concurrent backend of radical.asyncflow: threads, processes, executables, right here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from ._executors.pool import WorkerPool
    from .backend import ConcurrentExecutionBackend

__all__ = ["ConcurrentExecutionBackend", "WorkerPool", "__version__"]

# Imported on first use: a worker process and the listing of backends need neither.
_HOMES = {"ConcurrentExecutionBackend": ".backend", "WorkerPool": "._executors.pool"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value
