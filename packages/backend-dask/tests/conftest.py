"""What the tests of this backend share, beside what all backends' tests do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from backend_driver import Start, appears, drivers, empty_folder, leak_guard
from distributed.utils import offload
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import LeakGuard

__all__ = ["appears", "empty_folder", "leak_guard"]

_ENOUGH = 300  # seconds: on a busy machine a worker may take half a minute to start
_ELSEWHERE = {"address", "client", "cluster", "cluster_class", "scheduler_file", "adapt"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and not item.get_closest_marker(
            "timeout"
        ):
            item.add_marker(pytest.mark.timeout(_ENOUGH))


@pytest.fixture(scope="session", autouse=True)
def dask_threads() -> None:
    """Dask keeps a few threads for the whole process, and no leak guard shall be the first."""
    asyncio.run(offload(int))


@pytest.fixture
async def start(tmp_path: Path, empty_folder: Path) -> AsyncIterator[Start[DaskExecutionBackend]]:
    """Makes and starts a backend with these settings; nothing of it is left afterwards."""

    def make(*args: Any, **settings: Any) -> DaskExecutionBackend:
        own = {} if settings.keys() & _ELSEWHERE else {"n_workers": 2, "dashboard_address": None}
        return DaskExecutionBackend(*args, **{"grace": 1.0, **own, **settings})

    async with drivers(make, tmp_path) as begin:
        yield begin


@pytest.fixture
async def flow() -> AsyncIterator[WorkflowEngine]:
    """In this process, as a cluster of threads starts at once."""
    settings = {"processes": False, "threads_per_worker": 2, "dashboard_address": None}
    async with LeakGuard():
        engine = await WorkflowEngine.create("dask", config=settings)
        yield engine
        await engine.shutdown()
