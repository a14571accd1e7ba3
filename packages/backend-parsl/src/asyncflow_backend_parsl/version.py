"""The one place that holds the version; all distributions move in lockstep."""

__version__ = "1.0.0"
version = __version__
