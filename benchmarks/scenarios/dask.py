"""The Dask backend beside Dask by hand, as an expert would write it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from radical.asyncflow import WorkflowEngine

from .. import _bodies, _dask, _ours
from .._measure import COST, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

REFERENCE = "Dask by hand"


async def _payload(flow: WorkflowEngine, size: int) -> float:
    import numpy as np

    shifted = flow.function_task(_bodies.shifted)
    array = flow.function_task(np.zeros)(1_250_000)
    for _ in range(size):
        array = shifted(array)
    return float((await array)[-1])


async def _naps(flow: WorkflowEngine, size: int) -> float:
    pause = flow.function_task(_bodies.pause)
    last = pause(0.3)
    for _ in range(size - 1):
        last = pause(last)
    return float(await last)


SHAPES: dict[str, Any] = {**_ours.SHAPES, "payload": _payload, "naps": _naps}

SIZES = {"bag": 1_000, "chain": 200, "layers": 1_000, "payload": 20, "naps": 10}

GOALS = {
    "bag": Goal(0.5, REFERENCE),
    "chain": Goal(0.8, REFERENCE),
    "layers": Goal(0.5, REFERENCE),
    "payload": Goal(1.2, REFERENCE),
    "naps": Goal(330_000, None),
}


def _measure(shape: str, settings: Settings) -> Sequence[Row]:
    ours = _ours.side(SHAPES[shape], "dask", n_workers=_dask.WORKERS, dashboard_address=None)
    sides = {OURS: ours, REFERENCE: _dask.side(_dask.SHAPES[shape])}
    size = SIZES[shape]
    # The warm-up of naps takes as long as the measurement.
    repeat = 1 if shape == "naps" else settings.repeat
    return rows(f"dask-{shape}", size, contest(sides, size, repeat), {COST: GOALS[shape]})


SUMMARIES = {
    "bag": "independent tasks",
    "chain": "each task takes the result of the one before",
    "layers": f"{_ours.WIDTH} wide, three parents each",
    "payload": "a chain of 10 MB arrays",
    "naps": "ten tasks of 0.3 s, one after the other; the goal is 3.3 s in all",
}

SCENARIOS = [
    Scenario(
        f"dask-{shape}",
        f"{summary}, on {_dask.WORKERS} worker processes, beside Dask by hand",
        partial(_measure, shape),
    )
    for shape, summary in SUMMARIES.items()
    if find_spec("distributed") is not None
]
"""The scenarios; none if Dask is not installed."""
