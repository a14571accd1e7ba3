"""Settings from outside the program: ``key=value`` texts and the environment.

``asyncflow run`` starts the script with these variables, which a user may also set
by hand; `radical.asyncflow._discovery.profiles.resolve` reads them in the script's process:

=====================  ==========================================================
``ASYNCFLOW_BACKEND``  name of a backend
``ASYNCFLOW_PROFILE``  name of a profile
``ASYNCFLOW_CONFIG``   a file of profiles, read instead of the nearest asyncflow.toml
``ASYNCFLOW_SET``      JSON object: settings laid over the chosen backend's config
``ASYNCFLOW_JOURNAL``  file of the journal, for an engine that is given none
``ASYNCFLOW_WALLTIME`` seconds, or ``HH:MM:SS``, for an engine that is given no end
=====================  ==========================================================
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError

__all__ = [
    "BACKEND",
    "CONFIG",
    "JOURNAL",
    "PROFILE",
    "SET",
    "WALLTIME",
    "environment",
    "inherited",
    "overlay",
    "parse_setting",
    "parse_settings",
]

BACKEND = "ASYNCFLOW_BACKEND"
PROFILE = "ASYNCFLOW_PROFILE"
CONFIG = "ASYNCFLOW_CONFIG"
SET = "ASYNCFLOW_SET"
JOURNAL = "ASYNCFLOW_JOURNAL"
WALLTIME = "ASYNCFLOW_WALLTIME"


def parse_setting(text: str) -> dict[str, Any]:
    """``"a.b=3"`` as ``{"a": {"b": 3}}``.

    The value is a TOML literal (``true``, ``2.5``, ``[1, 2]``, ``"3"``); what is none,
    or is a date or a time there (a walltime ``12:30:00``), is a plain text.

    Raises:
        ConfigurationError: there is no ``=``, or a key is empty.
    """
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ConfigurationError(
            f"setting {text!r} is not of the form key=value, or section.key=value"
        )
    result: Any = _literal(value.strip())
    for key in reversed(keys):
        result = {key: result}
    setting: dict[str, Any] = result
    return setting


def _literal(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
        json.dumps(parsed, allow_nan=False)
    except (tomllib.TOMLDecodeError, TypeError, ValueError):
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Several settings as one mapping; of two for one key the later counts.

    Raises:
        ConfigurationError: names every text that is not a setting.
    """
    settings: dict[str, Any] = {}
    problems: list[str] = []
    for text in texts:
        try:
            settings = overlay(settings, parse_setting(text))
        except ConfigurationError as error:
            problems.append(str(error))
    if problems:
        raise ConfigurationError("\n".join(problems))
    return settings


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """*below* with *above* laid over it, mapping by mapping; neither is changed."""
    result = dict(below)
    for key, value in above.items():
        lower = result.get(key)
        if isinstance(value, Mapping):
            value = overlay(lower if isinstance(lower, Mapping) else {}, value)
        result[key] = value
    return result


def environment(
    *,
    backend: str | None = None,
    profile: str | None = None,
    config: str | os.PathLike[str] | None = None,
    settings: Iterable[str] = (),
    journal: str | os.PathLike[str] | None = None,
    walltime: str | None = None,
) -> dict[str, str]:
    """The variables that pass the options of ``asyncflow run`` on to the script.

    Raises:
        ConfigurationError: as `parse_settings`.
    """
    values = parse_settings(settings)
    variables = {
        BACKEND: backend,
        PROFILE: profile,
        CONFIG: str(Path(config).absolute()) if config is not None else None,
        SET: json.dumps(values) if values else None,
        JOURNAL: str(Path(journal).absolute()) if journal is not None else None,
        WALLTIME: walltime,
    }
    return {name: value for name, value in variables.items() if value is not None}


def inherited() -> dict[str, Any]:
    """What ``ASYNCFLOW_SET`` holds.

    Raises:
        ConfigurationError: it is not a JSON object.
    """
    text = os.environ.get(SET)
    if not text:
        return {}
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{SET} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f'{SET} must be a JSON object such as {{"max_workers": 4}}')
    return values
