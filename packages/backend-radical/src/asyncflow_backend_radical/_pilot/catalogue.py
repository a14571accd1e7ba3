"""RADICAL-Pilot's resource configurations, read without importing RADICAL-Pilot.

Its import starts threads and takes over signals, which the user's program must not suffer.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radical.asyncflow.config import close_matches
from radical.asyncflow.errors import BackendError, ConfigurationError

__all__ = [
    "find_resource",
    "find_schema",
    "known_resources",
    "user_folder",
    "user_resources",
]

# A string, which is kept, or something that JSON does not know, which is not.
_STRING_OR_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*")|#[^\n]*')
_STRING_OR_TRAILING_COMMA = re.compile(r'("(?:[^"\\\n]|\\.)*")|,(?=\s*[}\]])')
_RETIRED = {
    "anl.theta": "it was retired in 2023 and RADICAL-Pilot no longer lists it",
    "nersc.cori": "it was retired in 2023 and RADICAL-Pilot no longer lists it",
}
_MOST_HINTS = 6


def known_resources() -> dict[str, dict[str, Any]]:
    """Return ``{"site.name": configuration}``, where the user's files override RADICAL-Pilot's."""
    found: dict[str, dict[str, Any]] = {}
    for folder in (_package_folder() / "configs", user_folder()):
        for file in sorted(folder.glob("resource_*.json")):
            site = file.stem.removeprefix("resource_")
            for name, resource in _read(file).items():
                if isinstance(resource, dict):
                    label = f"{site}.{name}"
                    found[label] = {**found.get(label, {}), **resource}
    return found


def find_resource(label: str) -> dict[str, Any]:
    """Return the configuration of the resource *label*.

    Raises:
        ConfigurationError: RADICAL-Pilot knows none; the text names the closest ones.
    """
    known = known_resources()
    if label in known:
        return known[label]
    reason = f" ({_RETIRED[label]})" if label in _RETIRED else ""
    site = label.partition(".")[0]
    close = close_matches(label, known, 4, likeness=0.5)
    close += [other for other in known if other.startswith(f"{site}.") and other not in close]
    close.sort(key=lambda other: not other.startswith(f"{site}."))
    if close:
        hint = f"the closest known ones are {', '.join(map(repr, close[:_MOST_HINTS]))}"
    else:
        sites = sorted({other.partition(".")[0] for other in known})
        hint = f"the known sites are {', '.join(sites)}"
    raise ConfigurationError(
        f"RADICAL-Pilot knows no resource {label!r}{reason}; {hint}. To add a resource, write its "
        f"configuration to {user_folder()}/resource_{site or 'SITE'}.json (see the examples in "
        f"{_package_folder() / 'configs'})"
    )


def find_schema(label: str, resource: Mapping[str, Any], wanted: str | None) -> dict[str, Any]:
    """Return the endpoints of access schema *wanted* of a resource; None is the default one.

    Raises:
        ConfigurationError: the resource has no such schema.
    """
    schemas = resource.get("schemas") or {}
    name = wanted or resource.get("default_schema") or next(iter(schemas), "")
    if name not in schemas:
        raise ConfigurationError(
            f"resource {label!r} has no access_schema {name!r} (known: {', '.join(schemas)})"
        )
    return dict(schemas[name])


def user_resources(site: str) -> dict[str, Any]:
    """Return what the user's own file says about the resources of *site*."""
    file = user_folder() / f"resource_{site}.json"
    return _read(file) if file.is_file() else {}


def user_folder() -> Path:
    """Return the folder of the user's own configurations, as RADICAL-Pilot finds it."""
    base = os.environ.get("RADICAL_CONFIG_USER_DIR") or os.environ.get("HOME") or "~"
    # Without a home, this finds nothing; the method of Path would raise an error.
    return Path(os.path.expanduser(base)) / ".radical" / "pilot" / "configs"  # noqa: PTH111


def _package_folder() -> Path:
    spec = importlib.util.find_spec("radical.pilot")
    if spec is None or spec.origin is None:
        raise BackendError("radical.pilot is not installed: pip install 'radical.pilot>=1.103'")
    return Path(spec.origin).parent


def _read(file: Path) -> dict[str, Any]:
    text = _STRING_OR_COMMENT.sub(lambda match: match[1] or "", file.read_text())
    text = _STRING_OR_TRAILING_COMMA.sub(lambda match: match[1] or "", text)
    try:
        content = json.loads(text)
    except ValueError as exc:
        raise ConfigurationError(
            f"{file} cannot be read as a configuration of resources: {exc}"
        ) from exc
    return content if isinstance(content, dict) else {}
