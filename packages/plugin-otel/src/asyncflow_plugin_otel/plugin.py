"""How radical.asyncflow finds this plugin; it imports nothing until it has something to do."""

from __future__ import annotations

import os
import sys

from radical.asyncflow.hookspecs import Carrier, hookimpl

__all__ = ["asyncflow_carrier"]

_SIGNS = ("OTEL_PYTHON_TRACER_PROVIDER", "OTEL_PYTHON_METER_PROVIDER")


@hookimpl
def asyncflow_carrier(run: str) -> Carrier | None:
    """What traces and measures this run; None where OpenTelemetry is not set up."""
    loaded = "opentelemetry.trace" in sys.modules or "opentelemetry.metrics" in sys.modules
    if not loaded and not any(sign in os.environ for sign in _SIGNS):
        return None  # nobody can have set a provider
    from ._telemetry import Telemetry, is_set_up

    return Telemetry(run) if is_set_up() else None
