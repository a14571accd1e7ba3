"""The RADICAL-Pilot backend of radical.asyncflow: tasks on a pilot of a supercomputer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .backend import RadicalExecutionBackend
    from .errors import PilotLostError

__all__ = ["PilotLostError", "RadicalExecutionBackend", "__version__"]

# Imported on first use: the listing of backends needs neither.
_HOMES = {"PilotLostError": ".errors", "RadicalExecutionBackend": ".backend"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value
