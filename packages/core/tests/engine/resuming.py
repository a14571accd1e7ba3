"""A program that is run several times with one journal, and what ran of it each time."""

from __future__ import annotations

import importlib.util
import linecache
import os
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import TaskKind, TaskState
from radical.asyncflow.journal import Journal, TaskRecord, read
from radical.asyncflow.testing import ScriptedBackend

Main = Callable[[WorkflowEngine], Awaitable[Any]]


class Program:
    """Runs mains on one journal.

    Attributes:
        ran: names of the tasks that were run the last time, in their order.
        result: what the main returned the last time.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.path = folder / "journal"
        self.journal = Journal(self.path, **settings)
        self.ran: list[str] = []
        self.result: Any = None

    async def run(self, main: Main, *backends: Any, **options: Any) -> list[str]:
        """Run *main* on a new engine; returns `ran`."""
        scripted = ScriptedBackend(kinds=(TaskKind.FUNCTION, TaskKind.EXECUTABLE, TaskKind.PROMPT))
        given = list(backends) or [scripted]
        async with WorkflowEngine.create(given, journal=self.journal, **options) as flow:
            events: list[Any] = []
            flow.observe(events.extend)
            self.result = await main(flow)
        self.ran = [event.name for event in events if event.state is TaskState.SUBMITTED]
        return self.ran

    def records(self) -> tuple[TaskRecord, ...]:
        """The tasks of the last run, as the journal has them."""
        return tuple(task for run in read(self.path)[-1:] for task in run.tasks.values())

    def why(self, name: str) -> str | None:
        """What the journal says why *name* was not reused the last time."""
        return next(task.why for task in self.records() if task.name == name)


class Sources:
    """Writes modules that are older than this process, and imports them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    def load(self, text: str) -> ModuleType:
        """The module ``work`` with this *text*."""
        self._number += 1
        path = self._folder / f"work{self._number}.py"
        path.write_text(textwrap.dedent(text))
        os.utime(path, (1_000_000_000 + self._number,) * 2)
        linecache.clearcache()
        spec = importlib.util.spec_from_file_location("work", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
