"""Many tasks: does the millionth cost as much as the thousandth, and what memory is kept?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from .._measure import COST, Series, fresh, interleave, rows
from .._memory import PEAK
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

SIZES = (1_000, 10_000, 100_000, 1_000_000)
MAX_ALIVE = 1_000
TASKS_A_WAVE = 10_000
PEAK_RATIO = 0.55
SIDES = (OURS, "asyncio")


def _growth(settings: Settings) -> Sequence[Row]:
    found = _sizes("growth", settings, "bag", SIZES, {COST: 1.5}, {COST})
    return [
        replace(row, goal=Goal(PEAK_RATIO, "asyncio"))
        if row.figure == PEAK and row.size == SIZES[-1]
        else row
        for row in found
    ]


def _map(settings: Settings) -> Sequence[Row]:
    return _sizes("map", settings, "mapped", SIZES[1:], {}, {COST, PEAK}, limit=MAX_ALIVE)


def _sizes(
    name: str,
    settings: Settings,
    function: str,
    sizes: Sequence[int],
    limits: Mapping[str, float],
    flat: Collection[str],
    **arguments: int,
) -> Sequence[Row]:
    """Return the figures at each size, ours beside those of asyncio.

    The figures in *flat* should not grow: they are also compared with our own at the smallest
    size, and *limits* are the largest ratios allowed.
    """
    sizes = sizes[:-1] if settings.quick else sizes
    series = _interleaved(settings, function, sizes, **arguments)
    least = sizes[0]
    ours_at_least = f"{OURS} at {least:,}"
    found: list[Row] = []
    for size in sizes:
        of_size = _of(series, size)
        if size != least:
            for figure in flat:
                of_size[figure][ours_at_least] = _of(series, least)[figure][OURS]
        goals = {
            figure: Goal(limit, ours_at_least) for figure, limit in limits.items() if size != least
        }
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
    series = _of(_interleaved(settings, "retained", [size], wave=TASKS_A_WAVE), size)
    goals = {figure: Goal(32.0, None) for figure in series}
    return rows("retained", size, series, goals)


SCENARIOS = [
    Scenario("growth", "bags of 1,000 to 1,000,000 tasks, each in a new process", _growth),
    Scenario("retained", "memory that finished tasks leave behind if nobody holds them", _retained),
    Scenario("map", f"flow.map with {MAX_ALIVE:,} tasks alive, beside a window by hand", _map),
]
