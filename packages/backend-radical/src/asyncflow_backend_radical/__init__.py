"""The RADICAL-Pilot backend of radical.asyncflow: tasks on a pilot of a supercomputer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radical.asyncflow.lazy import lazy_names

from .version import __version__

if TYPE_CHECKING:
    from .backend import RadicalExecutionBackend
    from .errors import PilotLostError

__all__ = ["PilotLostError", "RadicalExecutionBackend", "__version__"]

# Imported on first use: the listing of backends needs neither.
__getattr__, __dir__ = lazy_names(
    __name__,
    {"PilotLostError": "errors", "RadicalExecutionBackend": "backend"},
)
