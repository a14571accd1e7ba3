"""The journal, the run and the task that a user names: shared by all commands that read them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .._text import closest
from ..errors import ConfigurationError
from ._output import warn

if TYPE_CHECKING:
    from ..journal import Damage, RunRecord, TaskRecord

__all__ = [
    "LAST",
    "find_journal",
    "find_run",
    "find_tasks",
    "journal_option",
    "load",
    "one_task",
    "run_and_task",
]

JOURNAL_VARIABLE = "ASYNCFLOW_JOURNAL"
DEFAULT_JOURNAL = "asyncflow.journal"

LAST = "last"
"""What a user writes for the run that began last."""

MAX_NAMED = 5
"""The most runs, tasks or lines that a message names."""

F = TypeVar("F", bound=Callable[..., Any])


def journal_option(function: F) -> F:
    """Add ``--journal``."""
    return click.option(
        "--journal",
        metavar="PATH",
        type=click.Path(dir_okay=False),
        help=f"The journal; by default that of {JOURNAL_VARIABLE}, or ./{DEFAULT_JOURNAL}.",
    )(function)


def find_journal(given: str | None) -> str:
    """Return the path of the journal to read.

    Raises:
        ConfigurationError: there is none.
    """
    path = given or os.environ.get(JOURNAL_VARIABLE) or DEFAULT_JOURNAL
    if not Path(path).exists():
        raise ConfigurationError(
            f"there is no journal {path}: name one with --journal PATH or {JOURNAL_VARIABLE}, "
            "or write one with asyncflow run --journal PATH SCRIPT"
        )
    return path


def load(path: str) -> tuple[RunRecord, ...]:
    """Return the runs in the journal, the oldest first, and warn of damaged lines.

    Raises:
        JournalError: the journal cannot be read.
    """
    from ..journal import read

    damage: list[Damage] = []
    runs = read(path, damage=damage)
    if damage:
        lines = ", ".join(f"{each.line} ({each.reason})" for each in damage[:MAX_NAMED])
        more = f" and {len(damage) - MAX_NAMED} more" if len(damage) > MAX_NAMED else ""
        word = "line" if len(damage) == 1 else "lines"
        warn(f"journal {path} is damaged: {word} {lines}{more} left out")
    return runs


def find_run(given: str, journal: str | None) -> tuple[tuple[RunRecord, ...], RunRecord]:
    """Return all runs of the journal, and the one that *given* names.

    Args:
        given: the uid of a run or its beginning, ``last``, or the path of a journal.

    Raises:
        ConfigurationError: it names no run, or several.
        JournalError: the journal cannot be read.
    """
    if journal is None and given != LAST and Path(given).is_file():
        journal, given = given, LAST
    path = find_journal(journal)
    runs = load(path)
    if not runs:
        raise ConfigurationError(f"journal {path} holds no runs yet")
    if given == LAST:
        return runs, runs[-1]
    exact = [run for run in runs if run.uid == given]
    if exact:
        return runs, exact[-1]
    alike = [run for run in runs if run.uid.removeprefix("run.").startswith(given)]
    alike = alike or [run for run in runs if run.uid.startswith(given)]
    if len(alike) == 1:
        return runs, alike[0]
    if alike:
        raise ConfigurationError(
            f"{given!r} is the beginning of several runs: {_sample([run.uid for run in alike])}"
        )
    raise ConfigurationError(
        f"journal {path} has no run {given!r}{closest(given, [run.uid for run in runs])}"
        f"{_hint(runs[-1], given)}; it has {_sample([run.uid for run in runs])}"
    )


def _hint(last: RunRecord, given: str) -> str:
    """Return what to write if *given* is no run but a task of the *last* one."""
    number = given.removeprefix("task.")
    known = number.isascii() and number.isdecimal() and int(number) in last.tasks
    if not known and all(task.name != given for task in last.tasks.values()):
        return ""
    return f", but the last run has such a task: {LAST} {given}"


def run_and_task(words: Sequence[str]) -> tuple[str, str | None]:
    """Return the run and the task that *words* name: ``[RUN] TASK``.

    Raises:
        ConfigurationError: there are more than two words.
    """
    if len(words) > 2:
        raise ConfigurationError(f"give one RUN and one TASK, not {len(words)} words")
    if not words:
        return LAST, None
    return (words[0] if len(words) == 2 else LAST), words[-1]


def find_tasks(run: RunRecord, given: str) -> list[TaskRecord]:
    """Return the task with the number *given*, or all tasks of that name.

    Args:
        given: ``task.000012``, ``12``, or a name.

    Raises:
        ConfigurationError: the run has no such task.
    """
    named = [task for task in run.tasks.values() if task.name == given]
    digits = given.removeprefix("task.")
    if not named and digits.isascii() and digits.isdecimal():
        task = run.tasks.get(int(digits))
        if task is None:
            raise ConfigurationError(
                f"run {run.uid} has no task {given}; the journal has {len(run.tasks):,} tasks of it"
            )
        return [task]
    if not named:
        names = dict.fromkeys(task.name for task in run.tasks.values())
        raise ConfigurationError(
            f"run {run.uid} has no task named {given!r}{closest(given, names)}; "
            f"its tasks are {_sample([*names])}"
        )
    return named


def one_task(run: RunRecord, given: str) -> TaskRecord:
    """Return the only task that *given* names, or the only one of them that failed.

    Raises:
        ConfigurationError: there is no such task, or there are several.
    """
    tasks = find_tasks(run, given)
    failed = [task for task in tasks if task.state == "FAILED"]
    for choice in (tasks, failed):
        if len(choice) == 1:
            return choice[0]
    ids = _sample([task.id for task in failed or tasks])
    known = f"{len(failed)} of them failed: {ids}" if failed else ids
    raise ConfigurationError(f"{len(tasks)} tasks are named {given!r}: give a number; {known}")


def _sample(words: Sequence[str]) -> str:
    """Return the last few of *words*, and how many there are besides."""
    if not words:
        return "none"
    shown = ", ".join(words[-MAX_NAMED:])
    return f"{shown} and {len(words) - MAX_NAMED} more" if len(words) > MAX_NAMED else shown
