"""The rhapsody backend of radical.asyncflow: tasks on the backends that RHAPSODY offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radical.asyncflow.lazy import lazy_names

from .version import __version__

if TYPE_CHECKING:
    from .backend import RhapsodyExecutionBackend

__all__ = ["RhapsodyExecutionBackend", "__version__"]

# Imported on first use: the listing of backends does not need it.
__getattr__, __dir__ = lazy_names(__name__, {"RhapsodyExecutionBackend": "backend"})
