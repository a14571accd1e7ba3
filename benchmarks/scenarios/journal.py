"""What a journal costs: a bag that writes one beside a bag that does not, and a resumed bag."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from radical.asyncflow import WorkflowEngine

from .. import _executor, _ours
from .._measure import COST, CPU, WARM, Run, Side, contest, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

SIZE = 100_000
MOST = 10.0
"""Microseconds that a journal may add to a task."""
ADDS = {COST: "µs that it adds", CPU: "µs of CPU that it adds"}
"""On a busy machine the time says what the neighbours did, the processor less so."""
FIFTH = 0.2
WORKERS = 2
POOLS: dict[str, Callable[[], Executor]] = {
    "executor threads": partial(ThreadPoolExecutor, WORKERS),
    "executor processes": partial(ProcessPoolExecutor, WORKERS),
}


@asynccontextmanager
async def _engine(backend: str, journal: Path | None) -> AsyncIterator[Run]:
    config = {"max_workers": WORKERS} if backend == "concurrent" else None
    async with WorkflowEngine.create(backend, config, journal=journal) as flow:

        async def run(size: int) -> object:
            results = await _ours.bag(flow, size)
            return len(results) if backend == "noop" else results

        yield run


def _side(backend: str, *, journal: bool, resume: int | None = None) -> Side:
    """A bag; with *resume*, one of so many tasks whose results are in its journal."""

    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "journal") if journal else None
            if resume is not None:
                async with _engine(backend, path) as run:
                    await run(min(resume, WARM))  # as the measured side does first
                    await run(resume)
            async with _engine(backend, path) as run:
                yield run

    return open_side


def _cost(backend: str, settings: Settings) -> Sequence[Row]:
    size = settings.size(SIZE)
    sides = {OURS: _side(backend, journal=True), "no journal": _side(backend, journal=False)}
    series = contest(sides, size, settings.repeat, processor=True)
    for figure, adds in ADDS.items():
        both = series[figure]
        pairs = zip(both[OURS], both["no journal"], strict=True)
        series[adds] = {OURS: [on - off for on, off in pairs]}
    goals = {adds: Goal(MOST, None) for adds in ADDS.values()}
    return rows(f"journal-{backend}", size, series, goals)


def _resume(settings: Settings) -> Sequence[Row]:
    size = settings.size(SIZE)
    sides = {
        OURS: _side("concurrent", journal=True, resume=size),
        "run on our threads": _side("concurrent", journal=True),
        **{name: _executor.side(_executor.bag, pool) for name, pool in POOLS.items()},
    }
    goals = {COST: Goal(FIFTH, "executor processes")}
    return rows("journal-resume", size, contest(sides, size, settings.repeat), goals)


SCENARIOS = [
    *(
        Scenario(f"journal-{backend}", f"bag with a journal, on {backend}", partial(_cost, backend))
        for backend in ("noop", "concurrent")
    ),
    Scenario("journal-resume", "bag whose results are in the journal, beside running it", _resume),
]
