"""``asyncflow explain``: why a task ran, was reused or waits, and what an error means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._text import printable
from ..errors import ConfigurationError
from ._environment import completer
from ._errors import find_entry, print_entry
from ._help import examples
from ._lookup import LAST, find_journal, find_run, find_tasks, journal_option, run_and_task
from ._output import debug_option, print_json, warn_former

if TYPE_CHECKING:
    from ..journal import TaskRecord
    from ..report import Explanation

__all__ = ["explain"]

MAX_EXAMPLES = 3
MAX_REASONS = 20
MAX_EXPLAINED = 20

_TASK = re.compile(r"task\.\d{6,}")


@click.command(
    epilog=examples(
        "explain simulate", "explain last 12", "explain --waiting", "explain WorkerLostError"
    )
)
@click.argument(
    "words", nargs=-1, metavar="[RUN] TASK|ERROR", shell_complete=completer("runs_tasks_and_errors")
)
@click.option(
    "--waiting",
    is_flag=True,
    help="Say what TASK waits for; without TASK, what all tasks wait for.",
)
@journal_option
@click.option("--run", "former_run", metavar="RUN", hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
@debug_option
def explain(
    words: tuple[str, ...],
    waiting: bool,
    journal: str | None,
    former_run: str | None,
    as_json: bool,
) -> None:
    """Say why a task ran, waits or was reused, or explain an error.

    RUN is the uid of a run or its beginning, "last" (the default), or a journal.  TASK is a
    number (12, task.000012) or a name, which stands for all tasks of that name.  ERROR is the
    class of an error of AsyncFlow, as the end of a traceback names it.
    """
    if len(words) == 1 and not waiting and (entry := find_entry(words[0])) is not None:
        print_entry(*entry)
        return
    if not words and not waiting:
        raise ConfigurationError("give a TASK: a number, or the name of a function")
    run, task = run_and_task(words)
    if former_run is not None:
        warn_former("--run", "explain RUN TASK")
        if len(words) == 2:
            journal = journal or run
        run = former_run
    if waiting:
        _explain_waiting(run, task, journal, as_json)
        return
    from ..report import Reuse

    runs, chosen = find_run(run, journal)
    reuse = Reuse(runs, chosen)
    explanations = [reuse.explain(task) for task in find_tasks(chosen, str(task))]
    if as_json:
        print_json(
            [
                {
                    "task": explanation.task.id,
                    "name": explanation.task.name,
                    "run": chosen.uid,
                    "reused": explanation.reused,
                    "reasons": list(explanation.reasons),
                }
                for explanation in explanations
            ]
        )
    elif len(explanations) == 1:
        _print_one(explanations[0], chosen.uid)
    else:
        _print_many(explanations, chosen.uid)


def _explain_waiting(run: str, task: str | None, journal: str | None, as_json: bool) -> None:
    """Say what the tasks that the user names wait for, or waited for when their run died."""
    from ..report import waiting_in

    if task is not None and run == LAST and journal is None and Path(task).is_file():
        run, task = task, None
    if journal is None and run != LAST and Path(run).is_file():
        journal, run = run, LAST
    journal = find_journal(journal)
    _, chosen = find_run(run, journal)
    numbers: list[int | None] = [None]
    if task is not None:
        # Of many tasks of a name, those that wait still come first, and then those that run.
        found = sorted(find_tasks(chosen, task), key=_progress)
        numbers = [one.number for one in found]
    answers = [waiting_in(chosen, number, journal=journal) for number in numbers[:MAX_EXPLAINED]]
    if as_json:
        print_json([{"run": chosen.uid, **answer.as_dict()} for answer in answers])
        return
    if chosen.state != "running":
        how = f"{chosen.state} ({chosen.life_reason})" if chosen.life_reason else chosen.state
        click.secho(f"run {chosen.uid} is {how}; until then:", bold=True)
    for answer in answers:
        for line in str(answer).splitlines():
            click.echo(printable(line))
    if len(numbers) > MAX_EXPLAINED:
        click.echo(f"and {len(numbers) - MAX_EXPLAINED:,} more tasks of that name; name one by id")


def _progress(task: TaskRecord) -> int:
    """Return how far *task* is: 0 waits, 1 runs, 2 has ended."""
    return {"PENDING": 0, "SUBMITTED": 0, "RUNNING": 1}.get(task.state, 2)


def _print_one(explanation: Explanation, run: str) -> None:
    task = explanation.task
    click.secho(f"{task.id} ({printable(task.name)}) of {run} {_outcome(explanation)}", bold=True)
    for reason in explanation.reasons:
        click.echo(f"  {printable(reason)}.")


def _outcome(explanation: Explanation) -> str:
    if explanation.reused is not None:
        return f"was reused from {explanation.reused}"
    return "was not reused"


def _print_many(explanations: list[Explanation], run: str) -> None:
    """Print the explanations with the same reasons together, the most frequent first."""
    reused = sum(explanation.reused is not None for explanation in explanations)
    name = printable(explanations[0].task.name)
    click.secho(
        f"{len(explanations):,} tasks named {name} of {run}: {reused:,} reused, "
        f"{len(explanations) - reused:,} not",
        bold=True,
    )
    groups: dict[tuple[str, ...], list[Explanation]] = {}
    for explanation in explanations:
        alike = tuple(_TASK.sub("task.*", reason) for reason in explanation.reasons)
        groups.setdefault(alike, []).append(explanation)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    for reasons, same in ordered[:MAX_REASONS]:
        ids = ", ".join(explanation.task.id for explanation in same[:MAX_EXAMPLES])
        more = ", ..." if len(same) > MAX_EXAMPLES else ""
        click.echo(f"\n  {len(same):,}: {ids}{more}")
        for reason in reasons if len(same) > 1 else same[0].reasons:
            click.echo(f"    {printable(reason)}.")
    if len(ordered) > MAX_REASONS:
        click.echo(f"\n  and {len(ordered) - MAX_REASONS:,} more reasons; --json has them all")
