"""Backends of radical.asyncflow on Parsl: tasks on the nodes of any batch system that it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radical.asyncflow.lazy import lazy_names

from .version import __version__

if TYPE_CHECKING:
    from .backend import ParslExecutionBackend

__all__ = ["ParslExecutionBackend", "__version__"]

# Imported on first use: the listing of backends needs nothing of it.
__getattr__, __dir__ = lazy_names(__name__, {"ParslExecutionBackend": "backend"})
