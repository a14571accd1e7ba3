"""A run goes on when its last pilot is lost: nothing is lost, hangs or begins twice.

``ASYNCFLOW_LOSSES`` says how often a pilot is killed, ``ASYNCFLOW_LOSSES_FROM`` from which seed
on.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from asyncflow_backend_radical import RadicalExecutionBackend
from loss_campaign import LONG_S, Round, rounds
from radical.asyncflow.testing import LeakGuard

pytestmark = pytest.mark.slow


def kill(rng: random.Random) -> None:
    """Kill the process that holds RADICAL-Pilot, or all that it started as well."""
    children = psutil.Process().children()
    (host,) = [each for each in children if "_host.main" in " ".join(each.cmdline())]
    below = host.children(recursive=True)
    if rng.random() < 0.5:
        host.kill()
        return
    for process in (host, *below):
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has just ended


@pytest.mark.parametrize("seed", rounds(1))
@pytest.mark.timeout(3 * LONG_S)
async def test_nothing_is_lost_and_nothing_begins_twice(seed: int, tmp_path: Path) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend(walltime=10)
        slots = int(backend.plan()["cores"])
        game = Round(tmp_path, f"radical {seed}", slots=slots, steps=60, commands=4)
        await game.play(backend, kill)
