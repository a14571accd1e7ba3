"""Many tasks: whether the millionth costs what the thousandth does, and what stays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from .._measure import COST, Series, fresh, interleave, rows
from .._memory import PEAK
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

SIZES = (1_000, 10_000, 100_000, 1_000_000)
LIMIT = 1_000
WAVE = 10_000
MEMORY = 0.55
SIDES = (OURS, "asyncio")


def _growth(settings: Settings) -> Sequence[Row]:
    found = _sizes("growth", settings, "bag", SIZES, {COST: 1.5}, {COST})
    return [
        replace(row, goal=Goal(MEMORY, "asyncio"))
        if row.figure == PEAK and row.size == SIZES[-1]
        else row
        for row in found
    ]


def _map(settings: Settings) -> Sequence[Row]:
    return _sizes("map", settings, "mapped", SIZES[1:], {}, {COST, PEAK}, limit=LIMIT)


def _sizes(
    name: str,
    settings: Settings,
    function: str,
    sizes: Sequence[int],
    limits: Mapping[str, float],
    flat: Collection[str],
    **arguments: int,
) -> Sequence[Row]:
    """Figures at each size, ours beside asyncio's.

    Those in *flat* should not grow: they stand beside our own at the least size as well,
    and *limits* say by how much they may.
    """
    sizes = sizes[:-1] if settings.quick else sizes
    series = _interleaved(settings, function, sizes, **arguments)
    least = sizes[0]
    mine = f"{OURS} at {least:,}"
    found: list[Row] = []
    for size in sizes:
        of_size = _of(series, size)
        if size != least:
            for figure in flat:
                of_size[figure][mine] = _of(series, least)[figure][OURS]
        goals = {figure: Goal(limit, mine) for figure, limit in limits.items() if size != least}
        found += rows(name, size, of_size, goals)
    return found


def _interleaved(
    settings: Settings, function: str, sizes: Sequence[int], **arguments: int
) -> Series:
    def sampler(side: str, size: int) -> Callable[[], Mapping[str, float]]:
        return lambda: fresh(f"benchmarks._memory:{function}", side=side, size=size, **arguments)

    samples = {f"{side} {size}": sampler(side, size) for size in sizes for side in SIDES}
    return interleave(samples, settings.repeat)


def _of(series: Series, size: int) -> Series:
    return {
        figure: {side: sides[f"{side} {size}"] for side in SIDES}
        for figure, sides in series.items()
    }


def _retained(settings: Settings) -> Sequence[Row]:
    size = settings.size(1_000_000)
    series = _of(_interleaved(settings, "retained", [size], wave=WAVE), size)
    goals = {figure: Goal(32.0, None) for figure in series}
    return rows("retained", size, series, goals)


SCENARIOS = [
    Scenario("growth", "bags of ten to the third to the sixth, each in a new process", _growth),
    Scenario("retained", "what finished tasks that nobody holds leave behind", _retained),
    Scenario("map", f"flow.map with {LIMIT:,} alive, beside a window by hand", _map),
]
