"""``asyncflow backends``: the list of backends, and what one can do and takes, also as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from .._catalog.abilities import abilities_of, limits_of
from .._catalog.settings import settings_of
from .._text import printable
from ..errors import ConfigurationError
from ._environment import completer
from ._help import Group, examples
from ._new import new_backend
from ._output import FAILED, debug_option, print_json, print_table, show_log
from .check import badge, check

__all__ = ["backends"]


@click.group(cls=Group, epilog=examples("backends list", "backends show concurrent"))
def backends() -> None:
    """List the backends, look at one, or begin one."""


backends.add_command(new_backend)


backends.add_command(check)
backends.add_command(badge)


@backends.command("list", epilog=examples("backends list", "backends list --json"))
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@debug_option
def list_backends(as_json: bool) -> None:
    """List the backends, and how to install others."""
    from .._discovery.registry import registry

    show_log()
    listing = registry.list_available_backends()
    if as_json:
        print_json(listing)
        return
    print_table(
        ("NAME", "STATUS", "VERSION", "SUMMARY"),
        [
            (name, info["status"], info["version"] or "-", info["summary"] or "-")
            for name, info in listing.items()
        ],
    )
    missing = [
        (name, "; ".join(filter(None, (info["failure_reason"], info["installation_hint"]))))
        for name, info in listing.items()
        if not info["available"]
    ]
    if missing:
        click.echo()
        print_table(("", ""), missing)


@backends.command(epilog=examples("backends show concurrent", "backends show dask --json"))
@click.argument("name", shell_complete=completer("backends"))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@debug_option
def show(name: str, as_json: bool) -> None:
    """Show settings, capabilities and versions of NAME."""
    from .._discovery.registry import registry

    show_log()
    facts = registry.describe(name)
    able = facts.get("capabilities", {})
    if able.get("executes") and "cores" in able["resources"]:
        facts["cores_here"] = _cores_here()
    if able.get("executes") and "gpus" in able["resources"]:
        facts["gpus_here"] = _gpus_here()
    if as_json:
        print_json(facts)
        return
    click.secho(f"{name}: {printable(facts['summary'])}".rstrip(": "), bold=True)
    click.echo()
    print_table(("", ""), list(_facts(facts)))
    if "capabilities" in facts:
        click.secho("\nCapabilities", bold=True)
        print_table(("", ""), list(_capabilities(facts["capabilities"])), indent=2)
        if facts["capabilities"]["executes"]:
            click.secho("\nTasks and options", bold=True)
            print_table(("", ""), list(_tasks(facts["tasks"])), indent=2)
    if "config_schema" in facts:
        click.secho("\nSettings", bold=True)
        rows = list(_settings(facts["config_schema"]))
        if rows:
            print_table(("KEY", "TYPE", "DEFAULT", "DESCRIPTION"), rows, indent=2)
        else:
            click.echo("  This backend has no settings.")


@backends.command(
    epilog=examples("backends docs dask", "backends docs dask README.md docs/settings.md --check")
)
@click.argument("name", shell_complete=completer("backends"))
@click.argument("pages", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing, and fail if a table is not up to date.")
@debug_option
def docs(name: str, pages: tuple[Path, ...], check: bool) -> None:
    """Write settings and capabilities of NAME as Markdown.

    With PAGES, the command replaces their tables: what stands between <!-- asyncflow: settings of
    NAME --> (or capabilities of NAME, or settings of NAME: KEY, KEY) and <!-- asyncflow: end -->.
    """
    from .._catalog.markdown import page_of
    from .._discovery.registry import registry

    show_log()
    if check and not pages:
        raise click.UsageError("--check is about the tables of pages: name the pages")
    facts = registry.describe(name)
    if "capabilities" not in facts:
        raise ConfigurationError(
            f"backend {name!r} cannot say what it takes: it is {facts['status']}. "
            + " ".join(filter(None, (facts["failure_reason"], facts["installation_hint"])))
        )
    if not pages:
        click.echo(page_of(facts), nl=False)
        return
    changed = [page for page in pages if _update(page, facts, check)]
    for page in changed:
        click.echo(f"{page}: {'not up to date' if check else 'written'}")
    if check and changed:
        click.echo(f"Write them anew by: asyncflow backends docs {name} PAGES", err=True)
        click.get_current_context().exit(FAILED)


def _update(page: Path, facts: Mapping[str, Any], check: bool) -> bool:
    """Write the tables of a page anew, unless it is only a *check*; return whether they differ."""
    from .._catalog.markdown import blocks_of, update_tables

    name = facts["name"]
    before = page.read_text(encoding="utf-8")
    try:
        if all(block.name != name for block in blocks_of(before)):
            raise ConfigurationError(
                f"no table of {name!r}; write <!-- asyncflow: settings of {name} --> and "
                "<!-- asyncflow: end -->, each in a line of its own"
            )
        after = update_tables(before, facts)
    except ConfigurationError as error:
        raise ConfigurationError(f"{page}: {error}") from error
    if after != before and not check:
        page.write_text(after, encoding="utf-8")
    return after != before


def _cores_here() -> dict[str, Any]:
    """Return how many cores of this machine a program may use, and what says so."""
    from ..worker import count_cores

    return count_cores()._asdict()


def _gpus_here() -> dict[str, Any]:
    """Return the GPUs of this machine that a program may use, and how they were found."""
    from ..worker import found_gpus

    found = found_gpus()
    return {"ids": list(found.ids), "variable": found.variable, "how": found.how}


def _facts(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "status", facts["status"]
    if facts["failure_reason"]:
        yield "reason", facts["failure_reason"]
    if facts["installation_hint"]:
        yield "hint", facts["installation_hint"]
    if facts["distribution"]:
        yield "distribution", f"{facts['distribution']} {facts['version'] or ''}".rstrip()
    if "api_version" in facts:
        yield "contract", f"{facts['api_version']} (of the core: {facts['core_api_version']})"
    yield "core", facts["core_version"]
    if "cores_here" in facts:
        yield "cores here", f"{facts['cores_here']['cores']}; {facts['cores_here']['origin']}"
    if "gpus_here" in facts:
        names = ", ".join(map(str, facts["gpus_here"]["ids"]))
        yield "GPUs here", f"{names or 'none'}; {facts['gpus_here']['how'].removeprefix('none: ')}"
    if facts.get("requirements"):
        yield "requires", ", ".join(facts["requirements"])


def _capabilities(capabilities: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for ability, answer in abilities_of(capabilities):
        yield ability.title, answer
    for place, limit in enumerate(limits_of(capabilities)):
        yield "" if place else "limits", limit


def _tasks(lacking: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what a program may use, with "yes" or why not, as the page on portability has it."""
    for title, reason in lacking.items():
        yield title.replace("`", ""), f"no, because {reason}" if reason else "yes"


def _settings(schema: object) -> Iterator[tuple[str, str, str, str]]:
    for one in settings_of(schema):
        kind = f"{one.type}, {one.unit}" if one.unit else one.type
        yield one.key, kind, one.default, one.description.replace("`", "")
