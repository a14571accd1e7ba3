"""The cost of the engine itself, with nothing to execute, beside plain asyncio."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from .. import _ours, _plain
from .._measure import COST, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

SIZES = (10_000, 100_000)
SHORT_RUN_TASKS = 10_000
LEAST_ROUNDS = 25
"""The least number of rounds for up to `SHORT_RUN_TASKS` tasks.

Such a round lasts 50 ms, so a neighbour can disturb several of them.
"""


def _measure(shape: str, settings: Settings) -> Sequence[Row]:
    sides = {
        OURS: _ours.side(_ours.SHAPES[shape], "noop"),
        "asyncio": _plain.side(_plain.SHAPES[shape]),
    }
    found: list[Row] = []
    for full in SIZES:
        size = settings.size(full)
        repeat = max(settings.repeat, LEAST_ROUNDS) if size <= SHORT_RUN_TASKS else settings.repeat
        goals = {COST: Goal(1.0, "asyncio")}
        found += rows(f"noop-{shape}", size, contest(sides, size, repeat), goals)
    return found


SCENARIOS = [
    Scenario(
        f"noop-{shape}",
        f"{shape}, nothing to execute, beside plain asyncio",
        partial(_measure, shape),
    )
    for shape in _ours.SHAPES
]
