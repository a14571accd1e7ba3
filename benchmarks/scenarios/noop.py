"""Nothing to execute: what the engine itself costs, beside plain asyncio."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from .. import _ours, _plain
from .._measure import COST, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

SIZES = {"bag": (10_000, 100_000), "chain": (10_000, 100_000), "fan": (10_000,)}


def _measure(shape: str, settings: Settings) -> Sequence[Row]:
    sides = {
        OURS: _ours.side(_ours.SHAPES[shape], "noop"),
        "asyncio": _plain.side(_plain.SHAPES[shape]),
    }
    found: list[Row] = []
    for full in SIZES.get(shape, (10_000,)):
        size = settings.size(full)
        goals = {COST: Goal(2.0, "asyncio")}
        found += rows(f"noop-{shape}", size, contest(sides, size, settings.repeat), goals)
    return found


SCENARIOS = [
    Scenario(
        f"noop-{shape}",
        f"{shape}, nothing to execute, beside plain asyncio",
        partial(_measure, shape),
    )
    for shape in _ours.SHAPES
]
