"""The plugin that radical.asyncflow finds; it loads OpenTelemetry only where it is used."""

from __future__ import annotations

import os
import sys

from radical.asyncflow.hookspecs import Carrier, hookimpl

__all__ = ["asyncflow_carrier"]

_PROVIDER_VARIABLES = ("OTEL_PYTHON_TRACER_PROVIDER", "OTEL_PYTHON_METER_PROVIDER")


@hookimpl
def asyncflow_carrier(run: str) -> Carrier | None:
    """Return what traces and measures this run; None if OpenTelemetry is not set up."""
    loaded = "opentelemetry.trace" in sys.modules or "opentelemetry.metrics" in sys.modules
    if not loaded and not any(name in os.environ for name in _PROVIDER_VARIABLES):
        return None  # nobody can have set a provider
    from ._telemetry import Telemetry, is_set_up

    return Telemetry(run) if is_set_up() else None
