"""``asyncflow completion``: the lines that make a shell complete the words of the command."""

from __future__ import annotations

import click

from ._help import COMPLETE, examples
from ._output import debug_option

__all__ = ["completion"]


@click.command(
    epilog=examples(
        "completion bash >> ~/.bash_completion",
        "completion zsh > ~/.zfunc/_asyncflow",
        "completion fish > ~/.config/fish/completions/asyncflow.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@debug_option
def completion(shell: str) -> None:
    """Print what makes a shell complete words behind asyncflow.

    The shell then offers commands and options, backends, profiles, settings, runs and tasks.  In
    bash and zsh this does it for one session: eval "$(asyncflow completion bash)"
    """
    from click.shell_completion import get_completion_class

    from ._complete import register

    register()
    found = get_completion_class(shell)
    assert found is not None
    root = click.get_current_context().find_root()
    click.echo(found(root.command, {}, "asyncflow", COMPLETE).source())
