"""``asyncflow backends new`` and ``asyncflow plugins new``: the beginning of a project."""

from __future__ import annotations

from pathlib import Path

import click

from .._scaffold.name import Name
from .._scaffold.project import BACKENDS, PLUGINS, write_project
from ._help import examples
from ._output import debug_option, show_log, warn

__all__ = ["new_backend", "new_plugin"]

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where to write it; by default ./asyncflow-NAME.",
)


@click.command(
    "new", epilog=examples("backends new mycluster", "backends new mycluster --kind batch")
)
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice([*BACKENDS]),
    default="minimal",
    show_default=True,
    help="What to begin with.",
)
@folder_option
@debug_option
def new_backend(name: str, kind: str, folder: Path | None) -> None:
    """Write a project for the backend NAME.

    It is a distribution that works as it is: it installs, keeps the contract of a backend, has
    tests, types and a CI workflow.  Make it yours by changing one thing after the other.
    """
    show_log()
    forms = Name.of(name)
    target = folder or Path(forms.distribution)
    write_project(forms, BACKENDS[kind], target)
    _warn_of_backend(forms.plain)
    click.echo(f"Wrote {target}: the backend {forms.plain!r}, {BACKENDS[kind].summary}.")
    _say_what_next(target, f"asyncflow doctor {forms.plain}")


@click.command("new", epilog=examples("plugins new mylog", "plugins new mylab --kind profile"))
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice([*PLUGINS]),
    default="observer",
    show_default=True,
    help="What to begin with.",
)
@folder_option
@debug_option
def new_plugin(name: str, kind: str, folder: Path | None) -> None:
    """Write a project for the plugin NAME.

    It is a distribution that works as it is.  An observer is told of what happens in each run; a
    carrier sends something along with each task; a profile gives the users of a site the right
    settings; a command adds one to asyncflow.
    """
    show_log()
    forms = Name.of(name)
    target = folder or Path(forms.distribution)
    write_project(forms, PLUGINS[kind], target)
    _warn_of_plugin(forms.plain, PLUGINS[kind].group)
    click.echo(f"Wrote {target}: a plugin that {PLUGINS[kind].summary}.")
    _say_what_next(target, "asyncflow plugins list --load")


def _warn_of_backend(name: str) -> None:
    """Warn if the name is that of a backend that is installed, or of one of ours."""
    from .._discovery.registry import registry

    info = registry.list_available_backends().get(name)
    if info is not None:
        of = f", of {info['distribution']}" if info["distribution"] else ""
        warn(
            f"there is a backend {name!r} already{of}: where both are installed, neither can be "
            "used"
        )


def _warn_of_plugin(name: str, group: str) -> None:
    """Warn if a plugin of the same group that is installed has the name."""
    from .._discovery.metadata import scan

    for declaration in scan(group):
        if declaration.name == name:
            warn(
                f"there is such a plugin {name!r} already, of {declaration.label}: where both are "
                "installed, neither can be used"
            )


def _say_what_next(target: Path, *more: str) -> None:
    click.echo("Next:")
    for line in (f"cd {target}", "pip install -e '.[test]'", "pytest", *more):
        click.echo(f"  {line}")
