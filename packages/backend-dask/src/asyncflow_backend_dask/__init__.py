"""The Dask backend of radical.asyncflow: whole graphs on the cluster, values that stay there."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .backend import DaskExecutionBackend

__all__ = ["DaskExecutionBackend", "__version__"]

# Imported on first use: the listing of backends and the workers do not need it.
_HOMES = {"DaskExecutionBackend": ".backend"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value
