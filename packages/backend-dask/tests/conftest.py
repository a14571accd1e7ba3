"""What the tests of this backend share: an empty folder, a leak guard, requests, a sink."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from distributed.utils import offload
from radical.asyncflow.backend import Command, Report, TaskKind, TaskRequest, TaskSpec
from radical.asyncflow.testing import LeakGuard, RecordingSink


@pytest.fixture(scope="session", autouse=True)
def dask_threads() -> None:
    """Dask keeps a few threads for the whole process, and no leak guard shall be the first."""
    asyncio.run(offload(int))


@pytest.fixture(scope="class", autouse=True)
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a file that a test leaves behind is seen."""
    folder = tmp_path_factory.mktemp("cwd")
    with chdir(folder):
        yield folder


@pytest.fixture
def leak_guard(empty_folder: Path) -> Iterator[None]:
    with LeakGuard():
        yield


_ids = itertools.count(1)


class Driver:
    """A started backend and the sink that hears it."""

    def __init__(self, backend: DaskExecutionBackend, sink: RecordingSink) -> None:
        self.backend = backend
        self.sink = sink

    @staticmethod
    def function(
        body: Callable[..., Any], *args: Any, attempt: int = 1, **options: Any
    ) -> TaskRequest:
        name = options.pop("name", getattr(body, "__name__", "task"))
        spec = TaskSpec(name, TaskKind.FUNCTION, body, **options)
        return TaskRequest(next(_ids), attempt, spec, args)

    @staticmethod
    def executable(*words: str, **options: Any) -> TaskRequest:
        name = options.pop("name", words[0])
        spec = TaskSpec(name, TaskKind.EXECUTABLE, print, **options)
        return TaskRequest(next(_ids), 1, spec, command=Command(words))

    def submit(self, *requests: TaskRequest) -> None:
        self.sink.expect(requests)
        self.backend.submit(requests)

    async def run(self, *requests: TaskRequest) -> list[Report]:
        self.submit(*requests)
        return await self.sink.outcomes(requests)

    async def begun(self, *requests: TaskRequest) -> None:
        await self.sink.until(lambda: all(map(self.sink.has_begun, requests)))


@pytest.fixture
def appears() -> Callable[[Path], Awaitable[None]]:
    """Waits until a file is there."""

    async def wait(path: Path) -> None:
        async with asyncio.timeout(20):
            while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
                await asyncio.sleep(0.005)

    return wait


_ELSEWHERE = {"address", "client", "cluster", "cluster_class", "scheduler_file", "adapt"}

Start = Callable[..., Awaitable[Driver]]


@pytest.fixture
async def start(tmp_path: Path, empty_folder: Path) -> AsyncIterator[Start]:
    """Makes and starts a backend with these settings; nothing of it is left afterwards."""
    drivers: list[Driver] = []

    async def begin(*args: Any, **settings: Any) -> Driver:
        settings = {"grace": 1.0, **settings}
        if not settings.keys() & _ELSEWHERE:
            settings = {"n_workers": 2, "dashboard_address": None, **settings}
        backend = DaskExecutionBackend(*args, **settings)
        driver = Driver(backend, RecordingSink(work_dir=tmp_path))
        await backend.start(driver.sink)
        drivers.append(driver)
        return driver

    async with LeakGuard():
        yield begin
        for driver in drivers:
            await driver.backend.shutdown()
    assert [driver.sink.violations for driver in drivers] == [[] for _ in drivers]
