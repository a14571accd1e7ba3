"""Driving a backend by hand: fixtures that the tests of several backends share."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, chdir
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest
from polling import until
from radical.asyncflow.backend import (
    Command,
    ExecutionBackend,
    Report,
    TaskKind,
    TaskRequest,
    TaskSpec,
)
from radical.asyncflow.testing import LeakGuard, RecordingSink

__all__ = ["Driver", "Start", "appears", "drivers", "empty_folder", "leak_guard"]

Backend = TypeVar("Backend", bound=ExecutionBackend)

_ids = itertools.count(1)


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


@pytest.fixture
def appears() -> Callable[[Path], Awaitable[None]]:
    """Waits until a file is there."""

    async def wait(path: Path) -> None:
        await until(path.exists)

    return wait


class Driver(Generic[Backend]):
    """A started backend and the sink that hears it."""

    def __init__(self, backend: Backend, sink: RecordingSink) -> None:
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


Start = Callable[..., Awaitable[Driver[Backend]]]


@asynccontextmanager
async def drivers(make: Callable[..., Backend], work_dir: Path) -> AsyncIterator[Start[Backend]]:
    """What starts the backend that *make* makes; nothing of it is left afterwards."""
    begun: list[Driver[Backend]] = []

    async def begin(*args: Any, **settings: Any) -> Driver[Backend]:
        driver = Driver(make(*args, **settings), RecordingSink(work_dir=work_dir))
        await driver.backend.start(driver.sink)
        begun.append(driver)
        return driver

    async with LeakGuard():
        yield begin
        for driver in begun:
            await driver.backend.shutdown()
    assert [driver.sink.violations for driver in begun] == [[] for _ in begun]
