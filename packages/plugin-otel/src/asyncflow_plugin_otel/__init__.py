"""OpenTelemetry for radical.asyncflow: traces that reach into tasks, and metrics."""

from .version import __version__

__all__ = ["__version__"]
