"""What the tests of commands share: a place for files and ways to look at processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from radical.asyncflow.model import Command
from radical.asyncflow.worker import Execution, guard

MakeExecution = Callable[..., Execution]


@pytest.fixture
def held_guard() -> Iterator[None]:
    """A guard that lives through the test, as a backend holds it."""
    guard().acquire()
    yield
    guard().release()


@pytest.fixture
def make(tmp_path: Path, held_guard: None) -> MakeExecution:
    def make(command: object, **options: Any) -> Execution:
        options.setdefault("name", "it")
        return Execution(Command.of(command), work_dir=lambda: tmp_path, **options)

    return make


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Poll a condition until it holds; fails after *within* seconds."""

    def eventually(condition: Callable[[], object], within: float = 10.0) -> None:
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.01)

    return eventually


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], Any]], list[Any]]]:
    """Run a function in a thread that is joined at the end; its result gets into the list."""
    threads: list[threading.Thread] = []

    def in_thread(function: Callable[[], Any]) -> list[Any]:
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(function()))
        thread.start()
        threads.append(thread)
        return results

    yield in_thread
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process lives; a zombie does not."""

    def alive(pid: int) -> bool:
        try:
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    return alive
