"""``asyncflow backends``: the list of backends, and the settings and capabilities of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from .._text import printable
from ._environment import completer
from ._help import Group, examples
from ._output import debug_option, print_json, print_table, show_log

__all__ = ["backends"]

_PYTHON_TYPES = {
    "integer": "int",
    "number": "float",
    "string": "str",
    "boolean": "bool",
    "null": "None",
    "object": "dict",
    "array": "list",
}
_CAPABILITY_TITLES = {
    "kinds": "runs",
    "resources": "honours",
    "kills_running": "stops running tasks",
    "native_dependencies": "orders tasks itself",
    "chains": "runs chains of tasks",
    "remote_results": "keeps results remote",
    "pickles": "pickles functions",
    "isolates": "survives a dead worker",
    "contexts": "passes context variables",
    "service": "runs services",
    "instances": "runs classes as services",
    "prompts": "honours of prompts",
    "priorities": "begins tasks by priority",
    "executes": "executes tasks",
}


@click.group(cls=Group, epilog=examples("backends list", "backends show concurrent"))
def backends() -> None:
    """List the backends, or show the settings of one."""


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
        rows = list(_settings(facts["config_schema"] or {}))
        if rows:
            print_table(("KEY", "TYPE", "DEFAULT", "DESCRIPTION"), rows, indent=2)
        else:
            click.echo("  This backend has no settings.")


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
    for key, title in _CAPABILITY_TITLES.items():
        value = capabilities[key]
        if isinstance(value, bool):
            yield title, "yes" if value else "no"
        else:
            yield title, ", ".join(value) or "none"
    for place, limit in enumerate(capabilities["limits"]):
        yield "" if place else "limits", limit


def _tasks(lacking: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what a program may use, with "yes" or why not, as the page on portability has it."""
    for title, reason in lacking.items():
        yield title.replace("`", ""), f"no, because {reason}" if reason else "yes"


def _settings(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    yield from _fields(schema, schema.get("$defs", {}), "", ())


def _fields(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str, above: tuple[str, ...]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield key, type, default and description of each setting; keys in a section as ``a.b``."""
    required = schema.get("required", ())
    for key, field in schema.get("properties", {}).items():
        default = "(required)" if key in required else _literal(field.get("default"))
        yield prefix + key, _type(field, definitions), default, field.get("description", "")
        target = field.get("$ref", "").rpartition("/")[2]
        if target in definitions and target not in above:
            inner = definitions[target]
            yield from _fields(inner, definitions, f"{prefix}{key}.", (*above, target))


def _type(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return a type as Python writes it, with its bounds: ``int >= 1 | None``."""
    choices = field.get("anyOf") or field.get("oneOf")
    if choices:
        return " | ".join(dict.fromkeys(_type(choice, definitions) for choice in choices))
    if "$ref" in field:
        target = field["$ref"].rpartition("/")[2]
        return _type(definitions.get(target, {}), definitions)
    if "const" in field:
        return _literal(field["const"])
    if "enum" in field:
        return " | ".join(map(_literal, field["enum"]))
    kind = field.get("type")
    name = _PYTHON_TYPES.get(str(kind), str(kind or "object"))
    if kind == "array" and field.get("items"):
        name = f"list[{_type(field['items'], definitions)}]"
    for key, sign in (("minimum", ">="), ("exclusiveMinimum", ">")):
        if key in field:
            name += f" {sign} {field[key]}"
    for key, sign in (("maximum", "<="), ("exclusiveMaximum", "<")):
        if key in field:
            name += f" {sign} {field[key]}"
    return name


def _literal(value: Any) -> str:
    return repr(value)
