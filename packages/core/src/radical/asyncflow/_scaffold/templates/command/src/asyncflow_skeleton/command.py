"""The command `asyncflow skeleton`."""

from __future__ import annotations

from collections import Counter

import click
from radical.asyncflow.journal import read


@click.command()
@click.argument("journal", type=click.Path(exists=True, dir_okay=False))
def command(journal: str) -> None:
    """Count the tasks in JOURNAL: how many of each name ended how."""
    counts = Counter(
        (task.name, task.state) for run in read(journal) for task in run.tasks.values()
    )
    for (name, state), count in sorted(counts.items()):
        click.echo(f"{name}  {state}  {count}")
