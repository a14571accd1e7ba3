"""The sections that plugins add to the report of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .._groups import SECTION_GROUP
from .._text import printable, safe_str
from ._output import print_table, show_log

if TYPE_CHECKING:
    from ..journal import RunRecord
    from ..report import MadeSection

__all__ = ["plugin_sections", "print_sections"]


def plugin_sections(run: RunRecord) -> list[MadeSection]:
    """Return what the plugins say of *run*; nothing is imported if there are none."""
    from .._discovery.metadata import may_have

    if not may_have(SECTION_GROUP):
        return []
    from .._discovery.registry import registry
    from ..report import make_sections

    show_log()
    makers = [(one.title, make) for one, make in registry.named.load_all(SECTION_GROUP)]
    return make_sections(run, makers)


def print_sections(made: list[MadeSection]) -> None:
    """Print the sections as text and tables; nothing in them can control the terminal."""
    for each in made:
        section = each.section
        if section is None:
            click.secho(f"\n{each.plugin}", bold=True)
            assert each.error is not None
            click.echo(f"  left out: {printable(safe_str(each.error))}")
            continue
        click.secho(f"\n{printable(section.title)}", bold=True)
        for line in section.text.splitlines():
            click.echo(f"  {printable(line)}".rstrip())
        rows, more = section.shown_rows()
        if rows:
            print_table(
                [printable(head.removeprefix("#")) for head in section.heads], rows, indent=2
            )
        if more:
            click.echo(f"  and {more:,} more rows")
