"""The options that choose backends; engines read them from the environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

__all__ = ["check_named", "choice_options", "completer", "set_environment", "set_option"]

F = TypeVar("F", bound=Callable[..., Any])


def completer(name: str) -> Callable[..., Any]:
    """Return the completer *name* of `_complete`, which is imported when a shell asks."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Any:
        from . import _complete

        return getattr(_complete, name)(ctx, parameter, incomplete)

    return complete


def set_option(function: F) -> F:
    """Add ``--set``."""
    return click.option(
        "-s",
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="A setting of the backend; may be repeated.",
        shell_complete=completer("settings"),
    )(function)


def choice_options(function: F) -> F:
    """Add ``--config``, ``--profile`` and ``--set``."""
    for option in (
        set_option,
        click.option(
            "--profile",
            metavar="NAME",
            help="A profile in asyncflow.toml.",
            shell_complete=completer("profiles"),
        ),
        click.option(
            "--config",
            metavar="FILE",
            type=click.Path(exists=True, dir_okay=False, readable=True),
            help="A file of profiles to read instead of the nearest asyncflow.toml.",
        ),
    ):
        function = option(function)
    return function


def check_named(observers: Sequence[str], carriers: Sequence[str]) -> None:
    """Import the observers and carriers, because an error is better now than in the program.

    Raises:
        PluginError: one is unknown, or does not load.
    """
    if not observers and not carriers:
        return
    from .._discovery.registry import registry
    from .._groups import CARRIER_GROUP, OBSERVER_GROUP

    for group, words in ((OBSERVER_GROUP, observers), (CARRIER_GROUP, carriers)):
        for word in words:
            registry.named.load(group, word.partition(":")[0].strip())


def set_environment(
    *,
    backend: str | None,
    profile: str | None,
    config: str | None,
    settings: Sequence[str],
    journal: str | None = None,
    walltime: str | None = None,
    observers: Sequence[str] = (),
    carriers: Sequence[str] = (),
) -> None:
    """Have every engine of this process that names no backend follow these options.

    They override what the environment says already.

    Raises:
        ConfigurationError: a setting is not of the form key=value.
    """
    import json
    import os

    from .._discovery.settings import BACKEND, SET, environment, inherited, overlay

    variables = environment(
        backend=backend,
        profile=profile,
        config=config,
        settings=settings,
        journal=journal,
        walltime=walltime,
        observers=observers,
        carriers=carriers,
    )
    if SET in variables:
        variables[SET] = json.dumps(overlay(inherited(), json.loads(variables[SET])))
    if profile is not None and backend is None:
        # A backend that is named overrides any profile, so the inherited name must go.
        os.environ.pop(BACKEND, None)
    os.environ.update(variables)
