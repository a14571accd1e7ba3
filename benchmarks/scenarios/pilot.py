"""Tasks on a pilot of this machine, beside RADICAL-Pilot written by hand on another pilot.

Both pilots are up all the time and take turns.  Without RADICAL-Pilot there are no scenarios
here.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec
from typing import Any

from radical.asyncflow import WorkflowEngine

from .._measure import COST, ROOT, Series, agree, limited, rows
from .._model import OURS, Goal, Row, Scenario, Settings

__all__ = ["SCENARIOS"]

BY_HAND = "by hand"
CORES = 8
END_S = 60.0  # for the session of the one by hand to end
LINE_BYTES = 1 << 24  # the longest line of an answer

Measured = tuple[float, Any]


def _double(number: int) -> int:
    return 2 * number


async def _functions(flow: WorkflowEngine, size: int) -> list[Any]:
    double = flow.function_task(_double)
    return await asyncio.gather(*(double(number) for number in range(size)))


async def _executables(flow: WorkflowEngine, size: int) -> list[Any]:
    @flow.executable_task
    async def date() -> str:
        return "/bin/date"

    futures = [date() for _ in range(size)]
    await asyncio.gather(*futures)
    return [future.exit_code for future in futures]


async def _tell(process: Process, what: str, size: int) -> Measured:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{what} {size}\n".encode())
    async with limited(BY_HAND):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError("RADICAL-Pilot by hand ended; see its errors above")
    seconds, result = json.loads(line)
    return seconds, result


async def _contest(
    what: str, work: Callable[[WorkflowEngine, int], Awaitable[list[Any]]], size: int, repeat: int
) -> Series:
    """Measure the turns of both sides, after one that warms them up."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks._by_hand"),
        cwd=ROOT,
        stdin=PIPE,
        stdout=PIPE,
        limit=LINE_BYTES,
    )
    costs: dict[str, list[float]] = {OURS: [], BY_HAND: []}
    try:
        config = {"cores": CORES, "walltime": 30}
        async with WorkflowEngine.create("radical_pilot", config=config) as flow:
            assert process.stdout is not None
            async with limited(BY_HAND):
                while b"ready" not in (line := await process.stdout.readline()):
                    if not line:
                        text = "RADICAL-Pilot by hand did not start; see its errors above"
                        raise RuntimeError(text)

            async def ours() -> Measured:
                began = time.perf_counter()
                result = await work(flow, size)
                return time.perf_counter() - began, result

            sides: dict[str, Callable[[], Awaitable[Measured]]] = {
                OURS: ours,
                BY_HAND: lambda: _tell(process, what, size),
            }
            for turn in range(repeat + 1):
                results: dict[str, object] = {}
                for side, measure in sides.items():
                    gc.collect()
                    seconds, result = await measure()
                    agree(results, side, result)
                    if turn:
                        costs[side].append(seconds / size * 1e6)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
    return {COST: costs}


def _scenario(
    what: str, work: Callable[[WorkflowEngine, int], Awaitable[list[Any]]], size: int, goal: float
) -> Callable[[Settings], Sequence[Row]]:
    def measure(settings: Settings) -> Sequence[Row]:
        count = settings.size(size)
        series = asyncio.run(_contest(what, work, count, min(settings.repeat, 3)))
        return rows(f"pilot-{what}", count, series, {COST: Goal(goal, BY_HAND)})

    return measure


SCENARIOS = [
    Scenario(
        "pilot-executables",
        "/bin/date on a pilot, beside RADICAL-Pilot by hand",
        _scenario("executables", _executables, 200, 1.15),
    ),
    Scenario(
        "pilot-functions",
        "functions on a pilot, beside single requests to RADICAL-Pilot's raptor",
        _scenario("functions", _functions, 500, 0.2),
    ),
]
if find_spec("radical.pilot") is None:
    SCENARIOS.clear()
