"""``asyncflow catalog``: a folder of pages about many plugins."""

from __future__ import annotations

from pathlib import Path

import click

from .._text import count
from ._help import Group, examples
from ._output import FAILED, debug_option, show_log, warn

__all__ = ["catalog"]


@click.group(
    cls=Group, epilog=examples("catalog build site", "catalog build --from wheels --reports r site")
)
def catalog() -> None:
    """Make pages about many plugins."""


@catalog.command(
    epilog=examples(
        "catalog build site",
        "catalog build --from wheels --from installed site",
        "catalog build --reports reports --title 'Our backends' site",
    )
)
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="DIR",
    default=("installed",),
    show_default=True,
    help="A folder of wheels, or 'installed' for what this environment has.  May be repeated.",
)
@click.option(
    "--reports",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder of reports by asyncflow backends check, from which levels are computed.",
)
@click.option(
    "--title", default="Plugins for AsyncFlow", show_default=True, help="The title of the pages."
)
@debug_option
def build(out: Path, sources: tuple[str, ...], reports: Path | None, title: str) -> None:
    """Write a catalog of plugins into the folder OUT.

    The pages need no server and no network.  No code of a plugin runs.  What cannot be read is
    left out: the page and this command say why, and the exit code is 1.
    """
    from .._catalog.site import build_catalog

    show_log()
    made = build_catalog(out, sources, reports, title=title)
    for problem in made.problems:
        warn(f"{problem.origin}: {problem.reason}")
    many = sum(len(one.plugins) for one in made.distributions)
    click.echo(f"{count(many, 'plugin')} in {out / 'index.html'}")
    if made.problems:
        click.get_current_context().exit(FAILED)
