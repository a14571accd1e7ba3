"""``asyncflow init``: write an ``asyncflow.toml``, after asking or as the options say."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import ConfigurationError
from ._environment import completer, set_option
from ._help import examples
from ._output import debug_option, show_log

__all__ = ["init"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@click.command(
    epilog=examples(
        "init",
        "init --backend concurrent -s max_workers=4",
        "init --backend dask --profile cluster",
    )
)
@click.argument(
    "folder",
    default=Path(),
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
)
@click.option(
    "--backend",
    metavar="NAME",
    help="The backend for programs that name none.",
    shell_complete=completer("backends"),
)
@set_option
@click.option("--profile", metavar="NAME", help="Write a profile of this name, the default one.")
@click.option("--force", is_flag=True, help="Replace a file that is there, without asking.")
@debug_option
def init(
    folder: Path,
    backend: str | None,
    settings: tuple[str, ...],
    profile: str | None,
    force: bool,
) -> None:
    """Write an asyncflow.toml that chooses a backend.

    FOLDER is the current one by default.  Without --backend, and on a terminal, the command asks
    for the backend and its settings.  It checks them, and starts nothing.
    """
    from .._discovery.profiles import FILE
    from .._discovery.settings import parse_settings

    show_log()
    path = folder / FILE
    asks = backend is None and sys.stdin.isatty()
    if path.exists() and not force:
        if not sys.stdin.isatty():
            raise ConfigurationError(f"{path} exists: --force replaces it")
        click.confirm(f"{path} exists. Replace it?", abort=True)
    if backend is None:
        if not asks:
            raise click.UsageError("give the backend with --backend NAME: nobody can be asked here")
        backend, config = _ask(parse_settings(settings))
    else:
        config = parse_settings(settings)
        _check(backend, config)
    path.write_text("\n".join(_document(backend, config, profile)) + "\n", encoding="utf-8")
    click.echo(f"Wrote {path}: programs here that name no backend use {backend}.")
    click.echo(f"Check it with: asyncflow doctor {backend}")


def _ask(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Ask for a backend and its settings, each again until it is right."""
    from .._discovery.profiles import FALLBACK_BACKEND
    from .._discovery.registry import registry
    from .._discovery.settings import overlay, parse_setting

    listing = registry.list_available_backends()
    names = [name for name, info in listing.items() if info["available"]]
    for name in names:
        click.echo(f"  {name:<16}{listing[name]['summary'] or ''}")
    default = FALLBACK_BACKEND if FALLBACK_BACKEND in names else None
    backend = click.prompt("Backend", type=click.Choice(names), default=default, show_choices=False)
    chosen = dict(config)
    click.echo(f"Settings, such as those that asyncflow backends show {backend} lists:")
    while text := click.prompt("KEY=VALUE (nothing ends it)", default="", show_default=False):
        try:
            more = overlay(chosen, parse_setting(text))
            _check(backend, more)
        except ConfigurationError as error:
            click.echo(f"Error: {error}", err=True)
        else:
            chosen = more
    _check(backend, chosen)
    return str(backend), chosen


def _check(backend: str, config: Mapping[str, Any]) -> None:
    """Check the name and the settings.

    Raises:
        BackendNotFoundError: there is no such backend.
        ConfigurationError: a setting is wrong.
    """
    from .._discovery.registry import registry
    from ..config import validate

    validate(registry.get_backend_spec(backend).config_model, config, backend=backend)


def _document(backend: str, config: Mapping[str, Any], profile: str | None) -> Iterator[str]:
    yield "# The backend of programs that name none; see asyncflow doctor."
    if profile is not None:
        yield f"default = {_toml(profile)}"
        yield ""
        yield f"[profiles.{_key(profile)}]"
    yield f"backend = {_toml(backend)}"
    if config:
        yield f"config = {_toml(config)}"


def _toml(value: Any) -> str:
    """Return *value*, which came from TOML, as TOML writes it in one line."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items())
        return f"{{ {pairs} }}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
