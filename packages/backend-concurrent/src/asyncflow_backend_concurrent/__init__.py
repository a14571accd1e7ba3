"""The concurrent backend of radical.asyncflow: threads, processes, executables, right here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radical.asyncflow.lazy import lazy_names

from .version import __version__

if TYPE_CHECKING:
    from .backend import ConcurrentExecutionBackend

__all__ = ["ConcurrentExecutionBackend", "__version__"]

# Imported on first use: a worker process and the listing of backends need neither.
__getattr__, __dir__ = lazy_names(__name__, {"ConcurrentExecutionBackend": "backend"})
