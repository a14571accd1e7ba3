"""One plugin of each group that users ask for by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import click
from radical.asyncflow.events import Event, RunEvent, TaskEvent
from radical.asyncflow.hookspecs import ArtifactStore, Carrier, CheckResult
from radical.asyncflow.journal import RunRecord
from radical.asyncflow.model import TaskSpec, TaskState
from radical.asyncflow.report import Section

PROFILE = {"backend": "frozen_1_0", "config": {"max_workers": 3}}

HERE: ContextVar[str] = ContextVar("frozen_1_0", default="nothing")


class Observer:
    def __init__(self, run: str, text: str) -> None:
        self._run = run
        self._file = Path(text)
        self._done = 0

    def __call__(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, TaskEvent) and event.state is TaskState.DONE:
                self._done += 1
            elif isinstance(event, RunEvent) and event.state == "ended":
                self._file.write_text(f"{self._run}: {self._done} done", encoding="utf-8")


@contextmanager
def enter(headers: str) -> Iterator[None]:
    token = HERE.set(headers)
    try:
        yield
    finally:
        HERE.reset(token)


def carried() -> str:
    return HERE.get()


class Sender(Carrier):
    enter = "asyncflow_frozen_1_0.named:enter"

    def __init__(self, run: str, text: str) -> None:
        self._text = text

    def carry(self, spec: TaskSpec, task_id: int) -> Any:
        return f"{self._text} {spec.name} {task_id}"

    def environment(self, headers: Any) -> Mapping[str, str]:
        return {"FROZEN_1_0": headers}


@click.command()
@click.option("--number", type=int, default=1)
def command(number: int) -> None:
    """Say that the command of an entry point runs."""
    click.echo(f"named {number}.0")


def check() -> Iterator[CheckResult]:
    yield CheckResult("frozen 1.0 is well", True, "as ever", "Nothing is to be done.")
    yield CheckResult("frozen 1.0 has a note", None)


def section(run: RunRecord) -> Section | None:
    done = sum(task.state == "DONE" for task in run.tasks.values())
    return Section(
        title="Frozen 1.0",
        text="Counted by a plugin.",
        heads=("State", "#Tasks"),
        rows=[("done", str(done))],
    )


class Store(ArtifactStore):
    def __init__(self, text: str) -> None:
        self._folder = Path(text)

    def put(self, run: str, path: Path) -> str:
        return str(shutil.copy2(path, self._folder / f"{run}-{path.name}"))
