"""How long an import takes, in a new interpreter, its own start not counted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from .._measure import interleave, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

LEAST = 15
"""Rounds: each is short, and the first ones read the disk."""

REFERENCE = "asyncio"
STATEMENTS = {
    "import": "import radical.asyncflow",
    "import-engine": "from radical.asyncflow import WorkflowEngine",
}
TIMED = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def _measure(name: str, settings: Settings) -> Sequence[Row]:
    samples = {OURS: _sampler(STATEMENTS[name]), REFERENCE: _sampler("import asyncio")}
    for sample in samples.values():
        sample()
    series = interleave(samples, max(settings.repeat, LEAST))
    return rows(name, 1, series, {"ms": Goal(2.2, REFERENCE)})


def _sampler(statement: str) -> Callable[[], Mapping[str, float]]:
    command = [sys.executable, "-c", TIMED.format(statement)]

    def sample() -> Mapping[str, float]:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return {"ms": float(done.stdout) * 1e3}

    return sample


def _scenario(name: str) -> Scenario:
    summary = f"`{STATEMENTS[name]}` beside `import asyncio`"
    return Scenario(name, summary, lambda settings: _measure(name, settings))


SCENARIOS = [_scenario(name) for name in STATEMENTS]
