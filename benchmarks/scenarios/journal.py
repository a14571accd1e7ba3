"""The cost of a journal: to write it, to resume from it, to open it."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

from radical.asyncflow import WorkflowEngine
from radical.asyncflow._resume.recorder import Recorder
from radical.asyncflow.journal import Journal
from radical.asyncflow.journal._format import run_begun, task_done
from radical.asyncflow.journal._writer import JournalWriter

from .. import _executor, _ours
from .._measure import COST, WARM_UP_TASKS, Run, Side, add_differences, contest, interleave, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

TASKS = 100_000
MOST_ADDED_US = 10.0
"""Microseconds that a journal may add to a task."""

MOST_PRESENT_US = 2.0
"""Microseconds of these that may be for the lines about tasks that have not ended."""

RESUME_RATIO = 0.2
RESULTS = 1_000_000
MOST_TO_OPEN_S = 2.5
"""Seconds that it may take to open a journal of so many results."""

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
    """Make the side that runs a bag; with *resume*, that many results are in its journal."""

    @asynccontextmanager
    async def open_side() -> AsyncIterator[Run]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "journal") if journal else None
            if resume is not None:
                async with _engine(backend, path) as run:
                    await run(min(resume, WARM_UP_TASKS))  # the measured side does this first
                    await run(resume)
            async with _engine(backend, path) as run:
                yield run

    return open_side


def _cost(backend: str, settings: Settings) -> Sequence[Row]:
    size = settings.size(TASKS)
    sides = {OURS: _side(backend, journal=True), "no journal": _side(backend, journal=False)}
    series = contest(sides, size, settings.repeat, processor=True)
    goals = dict.fromkeys(add_differences(series, "no journal"), Goal(MOST_ADDED_US, None))
    return rows(f"journal-{backend}", size, series, goals)


@contextmanager
def _without_present() -> Iterator[None]:
    """Let journals have no line about tasks that have not ended."""

    def forget(recorder: Recorder) -> None:
        recorder._called.clear()
        recorder._running.clear()
        recorder._says_running = False

    def send(recorder: Recorder, _: object) -> None:
        forget(recorder)
        recorder.flush()

    with (
        mock.patch.object(Recorder, "_append_called", forget),
        mock.patch.object(Recorder, "_append_running", forget),
        mock.patch.object(Recorder, "sending", send),
    ):
        yield


def _present(backend: str, settings: Settings) -> Sequence[Row]:
    size = settings.size(TASKS)
    whole = _side(backend, journal=True)

    @asynccontextmanager
    async def past_only() -> AsyncIterator[Run]:
        with _without_present():
            async with whole() as run:
                yield run

    sides = {OURS: whole, "only what has ended": past_only}
    series = contest(sides, size, settings.repeat, processor=True)
    added = add_differences(series, "only what has ended")
    goals = dict.fromkeys(added, Goal(MOST_PRESENT_US, None))
    return rows(f"journal-present-{backend}", size, series, goals)


def _resume(settings: Settings) -> Sequence[Row]:
    size = settings.size(TASKS)
    sides = {
        OURS: _side("concurrent", journal=True, resume=size),
        "run on our threads": _side("concurrent", journal=True),
        **{name: _executor.side(_executor.bag, pool) for name, pool in POOLS.items()},
    }
    goals = {COST: Goal(RESUME_RATIO, "executor processes")}
    return rows("journal-resume", size, contest(sides, size, settings.repeat), goals)


def _open(settings: Settings) -> Sequence[Row]:
    size = settings.size(RESULTS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal")
        _write(path, size)
        sides = {OURS: _open_journal, "json.loads of each line": _parse_lines}
        samples = {side: partial(_timed, function, path) for side, function in sides.items()}
        series = interleave(samples, settings.repeat)
    goal = Goal(MOST_TO_OPEN_S * size / RESULTS, None)
    return rows("journal-open", size, series, dict.fromkeys(series, goal))


def _write(path: Path, size: int) -> None:
    """Write the journal of a run of *size* tasks, as the engine does."""
    writer = JournalWriter(Journal(path, sync_seconds=None), run="run.1")
    writer.open()
    writer.append([run_begun("run.1", 1.0, "host", 1, "3", ["script.py"])])
    for number in range(1, size + 1):
        key = hashlib.blake2b(b"%d" % number, digest_size=16).hexdigest()
        clock = number * 1e-5
        line = task_done(
            number,
            1,
            (clock, clock + 0.1, clock + 0.2, clock + 0.3),
            key=key,
            result=f'"value":{number}',
            backend="concurrent",
            worker="concurrent-1",
        )
        writer.append([line])
    writer.close(timeout=60.0)


def _timed(function: Callable[[Path], Callable[[], object]], path: Path) -> dict[str, float]:
    began, used = time.perf_counter(), time.process_time()
    close = function(path)
    figures = {"s": time.perf_counter() - began, "s of CPU": time.process_time() - used}
    close()
    return figures


def _open_journal(path: Path) -> Callable[[], object]:
    writer = JournalWriter(Journal(path), run="run.2")
    writer.open()
    return writer.close


def _parse_lines(path: Path) -> Callable[[], object]:
    results = {}
    with path.open("rb") as file:
        for line in file:
            head, brace, fields = line.partition(b"{")
            if head[9:11] == b"D ":
                results[head[11:-1]] = json.loads(brace + fields)["value"]
    return results.clear


SCENARIOS = [
    *(
        Scenario(f"journal-{backend}", f"bag with a journal, on {backend}", partial(_cost, backend))
        for backend in ("noop", "concurrent")
    ),
    *(
        Scenario(
            f"journal-present-{backend}",
            f"bag on {backend} whose journal has what runs and waits, beside one without",
            partial(_present, backend),
        )
        for backend in ("noop", "concurrent")
    ),
    Scenario("journal-resume", "bag whose results are in the journal, beside running it", _resume),
    Scenario("journal-open", f"opening a journal of {RESULTS:,} results", _open),
]
