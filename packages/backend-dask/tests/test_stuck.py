"""A function that does not return after its timeout keeps no task from running."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import TaskTimeoutError
from radical.asyncflow.testing import LeakGuard


def stick(gate: str) -> str:
    """Return when *gate* is there, whoever cancels."""
    while not Path(gate).exists():
        time.sleep(0.01)
    Path(f"{gate}-{threading.get_ident()}").touch()
    return gate


def double(number: int) -> int:
    return 2 * number


def settled(gate: str, stuck: int, cores: int) -> bool:
    """Wait until the stuck functions have returned, and their threads have left the worker."""
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline:
        names = [each.name for each in threading.enumerate()]
        left = sum(name.startswith("Dask-Default-Threads") for name in names)
        if left <= cores and len(list(Path(gate).parent.glob("gate-*"))) == stuck:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize(("stuck", "cores"), [(1, 1), (3, 2)])
async def test_short_tasks_end_beside_functions_that_do_not(
    tmp_path: Path, stuck: int, cores: int
) -> None:
    settings: Any = {"n_workers": 2, "threads_per_worker": cores, "dashboard_address": None}
    gate = tmp_path / "gate"
    async with LeakGuard(), WorkflowEngine.create("dask", config=settings) as flow:
        hangs = flow.function_task(timeout=0.5, resources={"cores": cores})(stick)
        for _ in range(stuck):
            with pytest.raises(TaskTimeoutError):
                await hangs(str(gate))
        short = flow.function_task(resources={"cores": cores})(double)
        async with asyncio.timeout(60):
            assert await asyncio.gather(*map(short, range(20))) == list(range(0, 40, 2))
        gate.touch()
        counts = flow.function_task(settled)
        calls = [counts(str(gate), stuck, cores) for _ in range(2 * cores)]
        async with asyncio.timeout(60):
            assert await asyncio.gather(*calls) == [True] * len(calls)
            assert await asyncio.gather(*map(short, range(20))) == list(range(0, 40, 2))
