"""The time that an import takes in a new interpreter, without the start of the interpreter.

Both sides find their byte code, as in any installation.  Many build machines forbid to write
it; there, our modules would be compiled at each import, and asyncio would not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial

from .._measure import interleave, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

LEAST_ROUNDS = 15
"""The least number of rounds, because each is short and the first ones read the disk."""

REFERENCE = "asyncio"
STATEMENTS = {
    "import": "import radical.asyncflow",
    "import-engine": "from radical.asyncflow import WorkflowEngine",
}
TIMED = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def _measure(name: str, settings: Settings) -> Sequence[Row]:
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        statements = {OURS: STATEMENTS[name], REFERENCE: "import asyncio"}
        samples = {
            side: partial(_sample, statement, environment) for side, statement in statements.items()
        }
        interleave(samples, 1)  # writes the byte code
        series = interleave(samples, max(settings.repeat, LEAST_ROUNDS))
    return rows(name, 1, series, {"ms": Goal(2.2, REFERENCE)})


def _sample(statement: str, environment: Mapping[str, str]) -> dict[str, float]:
    command = [sys.executable, "-c", TIMED.format(statement)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return {"ms": float(done.stdout) * 1e3}


def _scenario(name: str) -> Scenario:
    summary = f"`{STATEMENTS[name]}` beside `import asyncio`"
    return Scenario(name, summary, partial(_measure, name))


SCENARIOS = [_scenario(name) for name in STATEMENTS]
