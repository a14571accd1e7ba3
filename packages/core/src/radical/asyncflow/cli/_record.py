"""What the verbs that read a journal share: which journal, which run, which task."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import ConfigurationError
from ._output import warn

if TYPE_CHECKING:
    from ..journal import Damage, RunRecord, TaskRecord

__all__ = ["LAST", "find_journal", "find_run", "find_tasks", "journal_option", "load", "one_task"]

JOURNAL = "ASYNCFLOW_JOURNAL"
DEFAULT = "asyncflow.journal"

LAST = "last"
"""What a user writes for the run that began last."""

SHOWN = 5

F = TypeVar("F", bound=Callable[..., Any])


def journal_option(function: F) -> F:
    """Add ``--journal``."""
    return click.option(
        "--journal",
        metavar="PATH",
        help=f"The journal; by default what {JOURNAL} names, or ./{DEFAULT}.",
    )(function)


def find_journal(given: str | None) -> str:
    """Path of the journal to read.

    Raises:
        ConfigurationError: there is none.
    """
    path = given or os.environ.get(JOURNAL) or DEFAULT
    if not Path(path).exists():
        raise ConfigurationError(
            f"there is no journal {path}: name one with --journal PATH or {JOURNAL}; "
            "asyncflow run --journal PATH SCRIPT writes one"
        )
    return path


def load(path: str) -> tuple[RunRecord, ...]:
    """The runs in the journal, the oldest first; what is damaged in it is warned of.

    Raises:
        JournalError: it cannot be read.
    """
    from ..journal import read

    damage: list[Damage] = []
    runs = read(path, damage=damage)
    if damage:
        lines = ", ".join(f"{each.line} ({each.reason})" for each in damage[:SHOWN])
        more = f" and {len(damage) - SHOWN} more" if len(damage) > SHOWN else ""
        word = "line" if len(damage) == 1 else "lines"
        warn(f"journal {path} is damaged, and {word} {lines}{more} left out")
    return runs


def find_run(given: str, journal: str | None) -> tuple[tuple[RunRecord, ...], RunRecord]:
    """All runs of the journal, and the one that is meant.

    Args:
        given: a run's uid, the beginning of one, ``last``, or a journal's path.

    Raises:
        ConfigurationError: no run is meant, or several.
        JournalError: the journal cannot be read.
    """
    if journal is None and given != LAST and Path(given).is_file():
        journal, given = given, LAST
    path = find_journal(journal)
    runs = load(path)
    if not runs:
        raise ConfigurationError(f"journal {path} holds no run yet")
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
            f"{given!r} may mean several runs: {_some([run.uid for run in alike])}"
        )
    raise ConfigurationError(
        f"journal {path} has no run {given!r}; it has {_some([run.uid for run in runs])}"
    )


def find_tasks(run: RunRecord, given: str) -> list[TaskRecord]:
    """The task of that number, or all of that name.

    Args:
        given: ``task.000012``, ``12``, or a name.

    Raises:
        ConfigurationError: there is none.
    """
    named = [task for task in run.tasks.values() if task.name == given]
    digits = given.removeprefix("task.")
    if not named and digits.isascii() and digits.isdecimal():
        task = run.tasks.get(int(digits))
        if task is None:
            raise ConfigurationError(
                f"run {run.uid} has no task {given}; the journal has {len(run.tasks):,} of them"
            )
        return [task]
    if not named:
        names = dict.fromkeys(task.name for task in run.tasks.values())
        raise ConfigurationError(
            f"run {run.uid} has no task named {given!r}; its tasks are {_some([*names])}"
        )
    return named


def one_task(run: RunRecord, given: str) -> TaskRecord:
    """The only task that *given* names; of several the only one that failed.

    Raises:
        ConfigurationError: there is none, or it may be several.
    """
    tasks = find_tasks(run, given)
    failed = [task for task in tasks if task.state == "FAILED"]
    for choice in (tasks, failed):
        if len(choice) == 1:
            return choice[0]
    ids = _some([task.id for task in failed or tasks])
    what = f"{len(failed)} of them failed: {ids}" if failed else ids
    raise ConfigurationError(f"{len(tasks)} tasks are named {given!r}; name one by number: {what}")


def _some(words: Sequence[str]) -> str:
    """The last few of *words*."""
    if not words:
        return "none"
    shown = ", ".join(words[-SHOWN:])
    return f"{shown} and {len(words) - SHOWN} more" if len(words) > SHOWN else shown
