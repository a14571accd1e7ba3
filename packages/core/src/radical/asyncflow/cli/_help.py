"""The help of commands: their examples, their groups, and the nearest word to a wrong one."""

from __future__ import annotations

import click

from .._text import close_matches

__all__ = ["COMPLETE", "GROUPS", "PLUGINS", "Group", "examples"]

GROUPS = (
    ("Run", ("run", "init")),
    ("Look", ("runs", "watch", "show", "logs", "explain", "report")),
    ("Diagnose", ("doctor", "backends", "plugins", "catalog", "completion")),
)
"""The titles in the list of commands, and the commands below each."""

COMPLETE = "_ASYNCFLOW_COMPLETE"
"""The variable with which a shell asks how to complete a word."""

PLUGINS = "Plugins"
"""The title above the commands of plugins."""


def examples(*lines: str) -> str:
    """Return the end of a command's help: *lines* that a user may type, after ``asyncflow``."""
    shown = "\n".join(f"  asyncflow {line}" for line in lines)
    return f"\b\n{'Example' if len(lines) == 1 else 'Examples'}:\n{shown}"


class Group(click.Group):
    """A group of commands that names the nearest command to one that it does not have."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = close_matches(args[0], self.list_commands(ctx), 3)
            if not near or "Did you mean" in error.message:
                raise
            words = " or ".join(map(repr, near))
            raise click.UsageError(f"{error.message} Did you mean {words}?", ctx) from None
