"""All scenarios, in the order of the table."""

from __future__ import annotations

from .._model import Scenario
from . import executables, growth, imports, journal, noop, times, workers

__all__ = ["SCENARIOS"]

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for module in (noop, workers, executables, times, growth, imports, journal)
    for scenario in module.SCENARIOS
}
