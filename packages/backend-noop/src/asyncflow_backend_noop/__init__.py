"""The noop backend of radical.asyncflow: walks the real graph, runs nothing."""

from .backend import DryRunResult, NoopExecutionBackend
from .version import __version__

__all__ = ["DryRunResult", "NoopExecutionBackend", "__version__"]
