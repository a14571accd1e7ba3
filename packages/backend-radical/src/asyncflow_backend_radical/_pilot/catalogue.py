"""RADICAL-Pilot's resource configurations, read without importing RADICAL-Pilot.

Its import starts threads and takes over signals, which is not for the user's program.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radical.asyncflow.errors import BackendError, ConfigurationError

__all__ = ["find_resource", "known_resources", "own_entries", "schema_of", "user_folder"]

# A string, which is kept, or a comment, which is not.
_TOKEN = re.compile(r'("(?:[^"\\\n]|\\.)*")|#[^\n]*')
_TRAILING = re.compile(r'("(?:[^"\\\n]|\\.)*")|,(?=\s*[}\]])')
_GONE = {
    "anl.theta": "it was retired in 2023 and RADICAL-Pilot no longer lists it",
    "nersc.cori": "it was retired in 2023 and RADICAL-Pilot no longer lists it",
}


def known_resources() -> dict[str, dict[str, Any]]:
    """``{"site.name": configuration}``: RADICAL-Pilot's own ones, and the user's on top."""
    found: dict[str, dict[str, Any]] = {}
    for folder in (_package() / "configs", user_folder()):
        for file in sorted(folder.glob("resource_*.json")):
            site = file.stem.removeprefix("resource_")
            for name, entry in _read(file).items():
                if isinstance(entry, dict):
                    label = f"{site}.{name}"
                    found[label] = {**found.get(label, {}), **entry}
    return found


def find_resource(label: str) -> dict[str, Any]:
    """The configuration of *label*.

    Raises:
        ConfigurationError: there is none; names the closest ones.
    """
    known = known_resources()
    if label in known:
        return known[label]
    reason = f" ({_GONE[label]})" if label in _GONE else ""
    site = label.partition(".")[0]
    close = difflib.get_close_matches(label, known, n=4, cutoff=0.5)
    close += [other for other in known if other.startswith(f"{site}.") and other not in close]
    close.sort(key=lambda other: not other.startswith(f"{site}."))
    hint = (
        f"the closest known ones are {', '.join(map(repr, close[:6]))}"
        if close
        else (f"known sites: {', '.join(sorted({other.partition('.')[0] for other in known}))}")
    )
    raise ConfigurationError(
        f"RADICAL-Pilot knows no resource {label!r}{reason}; {hint}. To add one of your own, "
        f"write its configuration to {user_folder()}/resource_{site or 'SITE'}.json "
        f"(the files in {_package() / 'configs'} show how)"
    )


def schema_of(label: str, entry: Mapping[str, Any], wanted: str | None) -> dict[str, Any]:
    """The endpoints of access schema *wanted*, or of the default one."""
    schemas = entry.get("schemas") or {}
    name = wanted or entry.get("default_schema") or next(iter(schemas), "")
    if name not in schemas:
        raise ConfigurationError(
            f"resource {label!r} has no access_schema {name!r} (known: {', '.join(schemas)})"
        )
    return dict(schemas[name])


def _package() -> Path:
    spec = importlib.util.find_spec("radical.pilot")
    if spec is None or spec.origin is None:
        raise BackendError("radical.pilot is not installed: pip install 'radical.pilot>=1.103'")
    return Path(spec.origin).parent


def own_entries(site: str) -> dict[str, Any]:
    """What the user's own file says of the resources of *site*."""
    file = user_folder() / f"resource_{site}.json"
    return _read(file) if file.is_file() else {}


def user_folder() -> Path:
    # As RADICAL-Pilot itself finds it.
    base = os.environ.get("RADICAL_CONFIG_USER_DIR") or os.environ.get("HOME") or "~"
    return Path(base).expanduser() / ".radical" / "pilot" / "configs"


def _read(file: Path) -> dict[str, Any]:
    text = _TOKEN.sub(lambda match: match[1] or "", file.read_text())
    text = _TRAILING.sub(lambda match: match[1] or "", text)
    try:
        content = json.loads(text)
    except ValueError as exc:
        raise ConfigurationError(f"{file} is not a configuration of resources: {exc}") from exc
    return content if isinstance(content, dict) else {}
