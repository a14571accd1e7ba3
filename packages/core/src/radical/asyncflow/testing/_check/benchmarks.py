"""Measure what a task costs on a backend, beside the same tasks in the engine's own loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from ..._discovery.registry import registry
from ...engine import WorkflowEngine
from ...model import TaskKind
from .. import _functions as functions
from .._scripted import ScriptedBackend
from .subject import Subject

__all__ = ["BENCHMARKS", "measure"]

_ROUNDS = 3


async def _bag(flow: WorkflowEngine, count: int) -> None:
    value = _task(flow)
    await asyncio.gather(*[value("true") for _ in range(count)])


async def _chain(flow: WorkflowEngine, count: int) -> None:
    value = _task(flow)
    future = value("true")
    for _ in range(count - 1):
        future = value(future)
    await future


async def _round_trip(flow: WorkflowEngine, count: int) -> None:
    value = _task(flow)
    for _ in range(count):
        await value("true")


def _task(flow: WorkflowEngine) -> Callable[..., Awaitable[Any]]:
    """Return a task that does next to nothing, of the first kind that the backend runs."""
    kinds = flow.backend.capabilities.kinds
    kind = TaskKind.FUNCTION if TaskKind.FUNCTION in kinds else min(kinds)
    task: Callable[..., Awaitable[Any]] = getattr(flow, f"{kind}_task")(functions.identity)
    return task


BENCHMARKS: dict[str, tuple[Callable[[WorkflowEngine, int], Awaitable[None]], int]] = {
    "bag": (_bag, 1),
    "chain": (_chain, 10),
    "round trip": (_round_trip, 100),
}
"""The work of each benchmark, and by what the load is divided for it."""


async def measure(subject: Subject, name: str) -> dict[str, Any]:
    """Return the fields of a `Benchmark`: the medians of rounds that take turns."""
    work, part = BENCHMARKS[name]
    count = max(2, subject.load // part)
    flow = await WorkflowEngine.create(registry.create(subject.name, subject.settings))
    async with flow, await WorkflowEngine.create(ScriptedBackend()) as reference:
        await work(flow, min(count, 10))  # workers start, and import what they need
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(_ROUNDS):
            for engine, found in zip((flow, reference), times, strict=True):
                began = time.perf_counter()
                await work(engine, count)
                found.append((time.perf_counter() - began) / count * 1e6)
    own, engine_only = (round(median(found), 2) for found in times)
    return {"name": name, "tasks": count, "microseconds": own, "engine": engine_only}
