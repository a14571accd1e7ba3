"""Measure time and memory of runs of very many tasks; each function needs a new process."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections import deque
from pathlib import Path

from radical.asyncflow import WorkflowEngine

from . import _ours, _plain
from ._bodies import one_more
from ._measure import COST, WARM_UP_TASKS

__all__ = ["ALIVE", "KEPT", "PEAK", "bag", "mapped", "pairs", "retained"]

PEAK = "MB at the peak"
KEPT = "MB more afterwards"
ALIVE = "values alive at once, at most"
VALUE_BYTES = 100_000
TASKS_OF_ALL_BAGS = 200_000
"""The number of tasks of all bags together, where one bag would take too short a time."""


def bag(side: str, size: int) -> dict[str, float]:
    """Run bags of *size* tasks with nothing to execute, `TASKS_OF_ALL_BAGS` in all."""
    sides = {
        "ours": _ours.side(_ours.bag, "noop"),
        "asyncio": _plain.side(_plain.bag),
    }

    async def run() -> dict[str, float]:
        async with sides[side]() as work:
            await work(WARM_UP_TASKS)
            before = await _resident()
            times = max(TASKS_OF_ALL_BAGS // size, 1)
            began = time.perf_counter()
            for _ in range(times):
                await work(size)
            seconds = time.perf_counter() - began
            left = await _resident() - before
        return {COST: seconds / times / size * 1e6, PEAK: _peak(), KEPT: left / 2**20}

    return asyncio.run(run())


class _Value(bytearray):
    """A large value, which counts how many of them there are."""

    alive = most = 0

    def __init__(self) -> None:
        super().__init__(VALUE_BYTES)
        _Value.alive += 1
        _Value.most = max(_Value.most, _Value.alive)

    def __del__(self) -> None:
        _Value.alive -= 1


def pairs(size: int) -> dict[str, float]:
    """Call ``b(a(i))`` for *size* numbers at once on two threads; a value of ``a`` is large."""

    async def run() -> None:
        async with WorkflowEngine.create(backend="concurrent", config={"max_workers": 2}) as flow:
            make = flow.function_task(lambda _: _Value())
            measure = flow.function_task(len)
            lengths = await asyncio.gather(*[measure(make(number)) for number in range(size)])
            assert lengths == [VALUE_BYTES] * size

    asyncio.run(run())
    return {ALIVE: float(_Value.most), PEAK: _peak()}


def mapped(side: str, size: int, limit: int) -> dict[str, float]:
    """Map a task over *size* items, at most *limit* tasks alive, results in order."""
    work = {"ours": _map_ours, "asyncio": _map_plain}[side]
    return {COST: asyncio.run(work(size, limit)) / size * 1e6, PEAK: _peak()}


async def _map_ours(size: int, limit: int) -> float:
    async with WorkflowEngine.create(backend="noop") as flow:
        task = flow.function_task(one_more)
        began = time.perf_counter()
        count = 0
        async for _ in flow.map(task, range(size), limit=limit):
            count += 1
        assert count == size
        return time.perf_counter() - began


async def _map_plain(size: int, limit: int) -> float:
    async def node(number: int) -> None:
        pass

    began = time.perf_counter()
    window: deque[asyncio.Task[None]] = deque()
    count = 0
    for number in range(size):
        if len(window) == limit:
            await window.popleft()
            count += 1
        window.append(asyncio.create_task(node(number)))
    while window:
        await window.popleft()
        count += 1
    assert count == size
    return time.perf_counter() - began


def retained(side: str, size: int, wave: int) -> dict[str, float]:
    """Measure the bytes that a finished task leaves behind, after *size* tasks in waves."""
    sides = {
        "ours": _ours.side(_ours.bag, "noop"),
        "asyncio": _plain.side(_plain.bag),
    }

    async def run() -> dict[str, float]:
        async with sides[side]() as work:
            await work(wave)  # arenas, caches and tables grow to the size that a wave needs
            before = await _resident()
            for _ in range(size // wave):
                await work(wave)
            after = await _resident()
            tracemalloc.start()
            await work(WARM_UP_TASKS)
            traced = await _traced()
            for _ in range(size // wave):
                await work(wave)
            objects = await _traced() - traced
            tracemalloc.stop()
        return {
            "bytes of objects kept for each": max(objects, 0) / size,
            "bytes of memory kept for each": max(after - before, 0) / size,
        }

    return asyncio.run(run())


async def _traced() -> int:
    await asyncio.sleep(0)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def _resident() -> int:
    await asyncio.sleep(0)
    gc.collect()
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM") / 2**20


def _status(key: str) -> int:
    """Return the bytes that Linux counts for this process.

    The peak of getrusage() would be that of the program that started this one.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status of this system has no {key}")
