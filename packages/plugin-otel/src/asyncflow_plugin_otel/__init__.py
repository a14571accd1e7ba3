"""OpenTelemetry for radical.asyncflow: traces that reach into tasks, and metrics.

`plugin` is what the core finds; `_telemetry` is loaded where the program has set a
provider, with `_tracing` for the spans of a run and `_metrics` for its measurements;
`worker` is entered around a task's body, wherever that runs.  Of the core they import
public modules alone.
"""

from .version import __version__

__all__ = ["__version__"]
