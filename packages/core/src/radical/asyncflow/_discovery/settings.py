"""Settings from outside the program: ``key=value`` texts and environment variables.

``asyncflow run`` sets these variables for the script; users may also set them by hand, and
`profiles.resolve` reads them:

=======================  ========================================================
``ASYNCFLOW_BACKEND``    name of the backend
``ASYNCFLOW_PROFILE``    name of the profile
``ASYNCFLOW_CONFIG``     a file of profiles, read instead of the nearest asyncflow.toml
``ASYNCFLOW_SET``        JSON object: settings that override those of the backend
``ASYNCFLOW_JOURNAL``    file of the journal, for an engine that names none
``ASYNCFLOW_WALLTIME``   seconds or ``HH:MM:SS``, for an engine that names no end
``ASYNCFLOW_OBSERVERS``  observers for every engine: ``NAME`` or ``NAME:TEXT``, with commas
                         between them, or a JSON list
``ASYNCFLOW_CARRIERS``   carriers for every engine, in the same form
=======================  ========================================================
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
    "CARRIERS",
    "CONFIG",
    "JOURNAL",
    "OBSERVERS",
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
OBSERVERS = "ASYNCFLOW_OBSERVERS"
CARRIERS = "ASYNCFLOW_CARRIERS"


def parse_setting(text: str) -> dict[str, Any]:
    """Parse one setting: ``"a.b=3"`` becomes ``{"a": {"b": 3}}``.

    The value is a TOML literal, such as ``true``, ``2.5``, ``[1, 2]`` or ``"3"``.  Anything
    else is taken as text, and so are dates and times, such as the walltime ``12:30:00``.

    Raises:
        ConfigurationError: there is no ``=``, or a key is empty.
    """
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ConfigurationError(
            f"setting {text!r} is not of the form key=value or section.key=value"
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
    """Parse several settings into one mapping; a later setting overrides an earlier one.

    Raises:
        ConfigurationError: some are no settings; the message names them all.
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
    """Return *below* with every key of *above* overriding it, also in nested mappings."""
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
    observers: Iterable[str] = (),
    carriers: Iterable[str] = (),
) -> dict[str, str]:
    """Return the variables that pass the options of ``asyncflow run`` on to the script.

    Raises:
        ConfigurationError: as for `parse_settings`.
    """
    values = parse_settings(settings)
    variables = {
        BACKEND: backend,
        PROFILE: profile,
        CONFIG: str(Path(config).absolute()) if config is not None else None,
        SET: json.dumps(values) if values else None,
        JOURNAL: str(Path(journal).absolute()) if journal is not None else None,
        WALLTIME: walltime,
        OBSERVERS: json.dumps([*observers]) if observers else None,
        CARRIERS: json.dumps([*carriers]) if carriers else None,
    }
    return {name: value for name, value in variables.items() if value is not None}


def inherited() -> dict[str, Any]:
    """Return the settings in ``ASYNCFLOW_SET``.

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
