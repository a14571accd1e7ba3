"""``asyncflow plugins``: everything that is installed for AsyncFlow, and what is wrong with it."""

from __future__ import annotations

import click

from ._help import Group, examples
from ._new import new_plugin
from ._output import FAILED, debug_option, print_json, print_table, show_log

__all__ = ["plugins"]


@click.group(cls=Group, epilog=examples("plugins list", "plugins list --json"))
def plugins() -> None:
    """List what is installed for AsyncFlow, or begin a plugin."""


plugins.add_command(new_plugin)


@plugins.command("list", epilog=examples("plugins list", "plugins list --load"))
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.option("--load", is_flag=True, help="Import each plugin, to see which of them fail.")
@debug_option
@click.pass_context
def list_plugins(context: click.Context, as_json: bool, load: bool) -> None:
    """List all plugins, with what is wrong with them.

    Nothing is imported, so a plugin is "available" if its metadata fit this machine.  With --load
    each is imported; the exit code is 1 if one of them fails.
    """
    from .._discovery.registry import registry
    from .._groups import GROUPS

    show_log()
    found = registry.list_plugins(load=load)
    if as_json:
        print_json([each._asdict() for each in found])
    elif not found:
        click.echo("No plugins are installed.")
    else:
        print_table(
            ("NAME", "KIND", "STATUS", "DISTRIBUTION", "VERSION"),
            [
                (
                    *(each.name, GROUPS[each.group].noun, each.status),
                    *(each.distribution, each.version or "-"),
                )
                for each in found
            ],
        )
        wrong = [
            (f"{GROUPS[each.group].noun} {each.name}", "; ".join(filter(None, each[5:7])))
            for each in found
            if each.reason
        ]
        if wrong:
            click.echo()
            print_table(("", ""), wrong)
    if load and any(each.reason for each in found):
        context.exit(FAILED)
