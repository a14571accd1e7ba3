"""The observers and carriers that an engine is given by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .._discovery.settings import CARRIERS, OBSERVERS
from .._groups import CARRIER_GROUP, GROUPS, OBSERVER_GROUP
from .._text import safe_repr, safe_str
from ..errors import AsyncFlowError, ConfigurationError, PluginBrokenError
from ..events import Event
from ..hookspecs import Carrier

__all__ = ["Asked", "Wanted", "ask"]

Wanted = str | Sequence[str]
"""``"NAME"`` or ``"NAME:TEXT"``, or several of them; the plugin gets the text."""


class Asked(NamedTuple):
    """The observers and carriers for one run, each with the name of its plugin."""

    observers: Sequence[tuple[str, Callable[[Sequence[Event]], object]]] = ()
    carriers: Sequence[tuple[str, Carrier]] = ()


def ask(observers: Wanted, carriers: Wanted, run: str) -> Asked:
    """Import the plugins that the program or the environment wants, and ask them for *run*.

    Raises:
        ConfigurationError: this is no name, or no list of names.
        PluginError: a plugin is unknown, or does not work.
    """
    watching = _wanted("observers", observers, OBSERVERS)
    sending = _wanted("carriers", carriers, CARRIERS)
    if not watching and not sending:
        return Asked()
    return Asked(
        [_call(OBSERVER_GROUP, one, run, callable, "a function") for one in watching],
        [_call(CARRIER_GROUP, one, run, _is_carrier, "a Carrier") for one in sending],
    )


def _wanted(parameter: str, given: Wanted, variable: str) -> list[str]:
    words = [given] if isinstance(given, str) else given
    if not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
        raise ConfigurationError(
            f"{parameter} must be a name, or a list of names, not {safe_repr(given)}"
        )
    words = [*words, *_listed(variable)]
    for word in words:
        if not word.partition(":")[0].strip():
            raise ConfigurationError(
                f"{parameter}: {word!r} names no plugin; write NAME or NAME:TEXT"
            )
    return [*dict.fromkeys(words)]


def _listed(variable: str) -> list[str]:
    """Return the words of an environment variable: a JSON list, or words with commas between."""
    text = os.environ.get(variable, "").strip()
    if not text.startswith("["):
        return [word.strip() for word in text.split(",") if word.strip()]
    try:
        words = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{variable} is not JSON: {error}") from error
    if not all(isinstance(word, str) for word in words):
        raise ConfigurationError(f"{variable} must be a list of names, not {text}")
    return [*words]


def _call(
    group: str, word: str, run: str, is_right: Callable[[Any], bool], wanted: str
) -> tuple[str, Any]:
    from .._discovery.registry import registry

    name, _, text = word.partition(":")
    name = name.strip()
    title = f"{GROUPS[group].noun} {name}"
    make = registry.named.load(group, name)
    try:
        made = make(run, text)
    except AsyncFlowError:
        raise
    except Exception as error:
        raise PluginBrokenError(f"the {title} does not work: {safe_str(error)}") from error
    if not is_right(made):
        raise PluginBrokenError(f"the {title} must give {wanted} for a run, not {safe_repr(made)}")
    return title, made


def _is_carrier(made: object) -> bool:
    return isinstance(made, Carrier)
