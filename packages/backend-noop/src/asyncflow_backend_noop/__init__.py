"""The noop backend of radical.asyncflow: walks the real graph, runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radical.asyncflow.lazy import lazy_names

from .version import __version__

if TYPE_CHECKING:
    from .backend import DryRunResult, NoopExecutionBackend

__all__ = ["DryRunResult", "NoopExecutionBackend", "__version__"]

# Imported on first use: the listing of backends needs neither.
_HOMES = {"DryRunResult": "backend", "NoopExecutionBackend": "backend"}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
