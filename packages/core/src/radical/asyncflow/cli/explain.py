"""``asyncflow explain``: why a task was given an earlier result, or was not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from .._text import printable
from ..errors import ConfigurationError
from ._output import debug_option, print_json
from ._record import LAST, find_run, find_tasks

if TYPE_CHECKING:
    from ..report import Verdict

__all__ = ["explain"]

EXAMPLES = 3
REASONS = 20

_TASK = re.compile(r"task\.\d{6,}")


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[JOURNAL] TASK")
@click.option("--run", "run", metavar="RUN", default=LAST, help="A run other than the last.")
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
@debug_option
def explain(words: tuple[str, ...], run: str, as_json: bool) -> None:
    """Say why TASK was given a result that JOURNAL had already, or was not.

    TASK is a number (12, task.000012) or a name; the tasks of one name are told together.
    """
    from ..report import Reuse

    if len(words) > 2:
        raise ConfigurationError(f"one JOURNAL and one TASK, not {len(words)} words")
    runs, chosen = find_run(run, words[0] if len(words) == 2 else None)
    reuse = Reuse(runs, chosen)
    verdicts = [reuse.explain(task) for task in find_tasks(chosen, words[-1])]
    if as_json:
        print_json(
            [
                {
                    "task": verdict.task.id,
                    "name": verdict.task.name,
                    "run": chosen.uid,
                    "reused": verdict.reused,
                    "reasons": list(verdict.reasons),
                }
                for verdict in verdicts
            ]
        )
    elif len(verdicts) == 1:
        _print_one(verdicts[0], chosen.uid)
    else:
        _print_many(verdicts, chosen.uid)


def _print_one(verdict: Verdict, run: str) -> None:
    task = verdict.task
    click.secho(f"{task.id} ({printable(task.name)}) of {run} {_became(verdict)}", bold=True)
    for reason in verdict.reasons:
        click.echo(f"  {printable(reason)}.")


def _became(verdict: Verdict) -> str:
    if verdict.reused is not None:
        return f"was reused from {verdict.reused}"
    return "was not reused"


def _print_many(verdicts: list[Verdict], run: str) -> None:
    """Equal reasons together, the most frequent first."""
    reused = sum(verdict.reused is not None for verdict in verdicts)
    name = printable(verdicts[0].task.name)
    click.secho(
        f"{len(verdicts):,} tasks named {name} of {run}: {reused:,} reused, "
        f"{len(verdicts) - reused:,} not",
        bold=True,
    )
    groups: dict[tuple[str, ...], list[Verdict]] = {}
    for verdict in verdicts:
        alike = tuple(_TASK.sub("task.*", reason) for reason in verdict.reasons)
        groups.setdefault(alike, []).append(verdict)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    for reasons, same in ordered[:REASONS]:
        ids = ", ".join(verdict.task.id for verdict in same[:EXAMPLES])
        more = ", ..." if len(same) > EXAMPLES else ""
        click.echo(f"\n  {len(same):,}: {ids}{more}")
        for reason in reasons if len(same) > 1 else same[0].reasons:
            click.echo(f"    {printable(reason)}.")
    if len(ordered) > REASONS:
        click.echo(f"\n  and {len(ordered) - REASONS:,} more reasons; --json has them all")
