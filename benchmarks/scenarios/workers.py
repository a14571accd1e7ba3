"""Two threads or two processes of the concurrent backend beside ``run_in_executor``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

from .. import _executor, _ours
from .._measure import COST, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

REFERENCE = "run_in_executor"
WORKERS = 2

RATIO_LIMITS = {
    "thread-bag": 0.15,
    "thread-chain": 0.1,
    "thread-fan": 0.15,
    "thread-layers": 0.15,
    "process-bag": 0.08,
    "process-chain": 0.35,
    "process-fan": 0.08,
    "process-layers": 0.08,
}
TASKS = 10_000
POOLS: dict[str, Callable[[], Executor]] = {
    "thread": partial(ThreadPoolExecutor, WORKERS),
    "process": partial(ProcessPoolExecutor, WORKERS),
}


def _measure(kind: str, shape: str, settings: Settings) -> Sequence[Row]:
    name = f"{kind}-{shape}"
    ours = _ours.side(_ours.SHAPES[shape], "concurrent", executor_type=kind, max_workers=WORKERS)
    sides = {OURS: ours, REFERENCE: _executor.side(_executor.SHAPES[shape], POOLS[kind])}
    goals = {COST: Goal(RATIO_LIMITS[name], REFERENCE)}
    size = settings.size(TASKS)
    return rows(name, size, contest(sides, size, settings.repeat), goals)


SCENARIOS = [
    Scenario(
        f"{kind}-{shape}",
        f"{shape} on {WORKERS} {kind} workers, beside run_in_executor",
        partial(_measure, kind, shape),
    )
    for kind in POOLS
    for shape in _ours.SHAPES
]
