"""``asyncflow explain``: why a task reused an earlier result, or ran."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from .._text import printable
from ..errors import ConfigurationError
from ._lookup import LAST, find_run, find_tasks
from ._output import debug_option, print_json

if TYPE_CHECKING:
    from ..report import Explanation

__all__ = ["explain"]

MAX_EXAMPLES = 3
MAX_REASONS = 20

_TASK = re.compile(r"task\.\d{6,}")


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[JOURNAL] TASK")
@click.option(
    "--run", "run", metavar="RUN", default=LAST, help="The run of TASK; by default the last."
)
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
@debug_option
def explain(words: tuple[str, ...], run: str, as_json: bool) -> None:
    """Say why TASK reused a result in JOURNAL, or why it ran.

    TASK is a number (12, task.000012) or a name, which stands for all tasks of that name.
    """
    from ..report import Reuse

    if len(words) > 2:
        raise ConfigurationError(f"give one JOURNAL and one TASK, not {len(words)} words")
    runs, chosen = find_run(run, words[0] if len(words) == 2 else None)
    reuse = Reuse(runs, chosen)
    explanations = [reuse.explain(task) for task in find_tasks(chosen, words[-1])]
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
