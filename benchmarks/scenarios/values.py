"""Large values of several libraries beside an array of NumPy with as many bytes."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from radical.asyncflow import WorkflowEngine

from .. import _bodies
from .._measure import Series, ratios
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

REFERENCE = "numpy"
GOAL = Goal(1.3, REFERENCE)
MEGABYTES = 64
LIBRARIES = {
    "torch": "torch",
    "pandas": "pandas",
    "pandas text": "pyarrow",  # which holds the texts
    "arrow": "pyarrow",
}
CONFIGS: dict[str, dict[str, Any]] = {
    "concurrent": {"executor_type": "process", "max_workers": 1},
    "dask": {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None},
}


async def _samples(backend: str, kinds: Sequence[str], size: int, repeat: int) -> Series:
    series: Series = {}
    async with WorkflowEngine.create(backend=backend, config=CONFIGS[backend]) as flow:
        hold = flow.function_task(_bodies.hold)
        held = flow.function_task(_bodies.held)
        ignore = flow.function_task(_bodies.ignore)

        async def sample(kind: str) -> dict[str, float]:
            await hold(kind, size)
            gc.collect()
            begun = time.perf_counter()
            value = await held()
            here = time.perf_counter()
            await ignore(value)
            there = time.perf_counter()
            del value
            gc.collect()
            again = time.perf_counter()
            await ignore(held())
            end = time.perf_counter()
            return {
                "ms to the program": (here - begun) * 1e3,
                "ms to a worker": (there - here) * 1e3,
                "ms to the next task": (end - again) * 1e3,
            }

        for place in range(repeat + 1):
            for kind in kinds:
                for figure, value in (await sample(kind)).items():
                    if place:  # the first round warms all up
                        series.setdefault(figure, {}).setdefault(kind, []).append(value)
    return series


def _measure(name: str, backend: str, settings: Settings) -> Sequence[Row]:
    kinds = [REFERENCE, *(kind for kind, library in LIBRARIES.items() if find_spec(library))]
    megabytes = settings.size(MEGABYTES, 4)
    repeat = settings.repeat if settings.quick else max(settings.repeat, 9)
    series = asyncio.run(_samples(backend, kinds, megabytes << 20, repeat))
    found: list[Row] = []
    for kind in kinds[1:]:
        for figure, sides in series.items():
            both = {OURS: sides[kind], REFERENCE: sides[REFERENCE]}
            medians = {side: statistics.median(values) for side, values in both.items()}
            title = f"{kind}, {figure}"
            found.append(Row(name, megabytes, title, medians, ratios(both), GOAL))
    return found


SCENARIOS = [
    Scenario(
        name,
        f"values of {MEGABYTES} MB on {where}, beside an array of NumPy; the size is in MB",
        partial(_measure, name, backend),
    )
    for name, backend, where, needed in (
        ("many-values", "concurrent", "a worker process", "numpy"),
        ("many-values-dask", "dask", "a Dask worker", "distributed"),
    )
    if find_spec(needed)
]
"""The scenarios; a library that is not installed has no rows."""
