"""The Dask backend of radical.asyncflow: whole graphs on the cluster, values that stay there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radical.asyncflow.lazy import lazy_names

from .version import __version__

if TYPE_CHECKING:
    from .backend import DaskExecutionBackend

__all__ = ["DaskExecutionBackend", "__version__"]

# Imported on first use: the listing of backends and the workers do not need it.
__getattr__, __dir__ = lazy_names(__name__, {"DaskExecutionBackend": "backend"})
