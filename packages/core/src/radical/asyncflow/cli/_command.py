"""The group of all commands; it turns errors into one message and the exit code 2."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from .._public import public
from .._text import safe_str
from ..errors import AsyncFlowError, PluginError
from ..version import __version__
from ._help import COMPLETE, GROUPS, PLUGINS, Group
from ._output import INTERRUPTED, WRONG, debug_option, debugging, show_log, warn
from .backends import backends
from .catalog import catalog
from .completion import completion
from .doctor import doctor
from .explain import explain
from .init import init
from .logs import logs
from .plugins import plugins
from .report import report
from .run import run
from .runs import runs, show
from .watch import watch

__all__ = ["command", "main"]


class NamedCommand(click.Command):
    """The place of a plugin's command, which is imported when it is called."""

    def __init__(self, name: str, summary: str) -> None:
        super().__init__(name, short_help=summary)
        self._plugin = name

    def load(self) -> click.Command:
        """Import the command.

        Raises:
            PluginError: it does not load.
        """
        from .._discovery.registry import registry
        from .._groups import COMMAND_GROUP

        loaded: click.Command = registry.named.load(COMMAND_GROUP, self._plugin)
        return loaded


class Commands(Group):
    """Our own commands, and those of plugins, which are loaded only where they can matter."""

    _plugins_added = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._add_plugins()
        return super().list_commands(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in groups, those of plugins last."""
        known = {
            name: found
            for name in self.list_commands(ctx)
            if not (found := self.commands[name]).hidden
        }
        ours = {name for _, names in GROUPS for name in names}
        groups = [*GROUPS, (PLUGINS, tuple(name for name in known if name not in ours))]
        width = max(map(len, known))
        for title, names in groups:
            rows = [
                (f"{name:<{width}}", known[name].get_short_help_str(formatter.width - width - 6))
                for name in names
                if name in known
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands:
            self._add_named()
        if cmd_name not in self.commands:
            self._add_plugins()
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called, and import it if it is a plugin's."""
        name, found, rest = super().resolve_command(ctx, args)
        if isinstance(found, NamedCommand):
            try:
                found = found.load()
            except PluginError:
                if not ctx.resilient_parsing:  # a shell that asks shows no errors
                    raise
        return name, found, rest

    def _add_named(self) -> None:
        """Add the commands that have names in the metadata of their distributions."""
        from .._discovery.registry import registry
        from .._groups import COMMAND_GROUP

        show_log()
        for name, plugin in registry.named.found(COMMAND_GROUP).items():
            if plugin.source is None:
                continue  # disabled
            if name not in self.commands:
                self.add_command(NamedCommand(name, plugin.source.summary))
            elif not isinstance(self.commands[name], NamedCommand):
                title = plugin.source.title
                warn(f"the command {title} is left out: the name is taken")

    def _add_plugins(self) -> None:
        if self._plugins_added:
            return
        self._plugins_added = True
        from .._discovery.registry import registry

        self._add_named()
        for plugin, hook in registry.hooks("asyncflow_cli"):
            # Each has a group of its own: a plugin that fails half-way must add nothing.
            group = click.Group(plugin)
            try:
                hook(group=group)
            except Exception as error:
                warn(f"the commands of plugin {plugin} are left out", error)
                continue
            for name, added in group.commands.items():
                if name in self.commands:
                    warn(f"the command {name!r} of plugin {plugin} is left out: the name is taken")
                else:
                    self.add_command(added, name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            if debugging():
                traceback.print_exception(error)
            elif isinstance(error, AsyncFlowError):
                click.echo(f"Error: {error}", err=True)
            else:
                click.echo(f"Error: {safe_str(error)}", err=True)
                click.echo("(--debug shows where it was raised)", err=True)
            ctx.exit(WRONG)


@click.group("asyncflow", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="asyncflow %(version)s")
@debug_option
def command() -> None:
    """Run workflows, look at their runs, and find the backends that can run them.

    Each command has a --help of its own, with examples.
    """


command.add_command(backends)
command.add_command(catalog)
command.add_command(completion)
command.add_command(plugins)
command.add_command(doctor)
command.add_command(init)
command.add_command(run)
command.add_command(runs)
command.add_command(show)
command.add_command(watch)
command.add_command(logs)
command.add_command(explain)
command.add_command(report)


@public("radical.asyncflow.cli")
def main(args: Sequence[str] | None = None) -> None:
    """Run the command with *args*, by default those of the process, and end the program."""
    if COMPLETE in os.environ:
        from ._complete import register

        register()
        with suppress(KeyboardInterrupt):  # its traceback would stand in the middle of the line
            command.main(args, prog_name="asyncflow")
        return
    command.main(args, prog_name="asyncflow")
