"""The groups of entry points; `hookspecs` offers the names to plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ._public import public

__all__ = [
    "BACKEND_GROUP",
    "CARRIER_GROUP",
    "CHECK_GROUP",
    "COMMAND_GROUP",
    "GROUPS",
    "OBSERVER_GROUP",
    "PLUGIN_GROUP",
    "PROFILE_GROUP",
    "SECTION_GROUP",
    "STORE_GROUP",
    "PluginGroup",
]

BACKEND_GROUP = "radical.asyncflow.backends"
PLUGIN_GROUP = "radical.asyncflow.plugins"
OBSERVER_GROUP = "radical.asyncflow.observers"
CARRIER_GROUP = "radical.asyncflow.carriers"
PROFILE_GROUP = "radical.asyncflow.profiles"
COMMAND_GROUP = "radical.asyncflow.commands"
CHECK_GROUP = "radical.asyncflow.checks"
SECTION_GROUP = "radical.asyncflow.sections"
STORE_GROUP = "radical.asyncflow.stores"


@public("radical.asyncflow.hookspecs")
class PluginGroup(NamedTuple):
    """A group of entry points.

    Attributes:
        group: its name, as ``pyproject.toml`` has it.
        noun: what messages call one of its plugins.
        names: what an entry point of the group names.
        used: when such a plugin is imported, and used.
    """

    group: str
    noun: str
    names: str
    used: str


GROUPS: Mapping[str, PluginGroup] = {
    each.group: each
    for each in (
        PluginGroup(
            BACKEND_GROUP,
            "backend",
            "a module with the hook `asyncflow_backend`",
            "by an engine whose backend has this name",
        ),
        PluginGroup(
            PLUGIN_GROUP,
            "plugin",
            "a module with other hooks",
            "by every engine, and by every command that has a place for its hooks",
        ),
        PluginGroup(
            OBSERVER_GROUP,
            "observer",
            "a callable that takes the uid of a run and a text, and returns a function that takes "
            "a list of events",
            "by an engine with `observers=`, and by `asyncflow run --observer`",
        ),
        PluginGroup(
            CARRIER_GROUP,
            "carrier",
            "a callable that takes the uid of a run and a text, and returns a `Carrier`",
            "by an engine with `carriers=`, and by `asyncflow run --carrier`",
        ),
        PluginGroup(
            PROFILE_GROUP,
            "profile",
            "a mapping as in `asyncflow.toml`, or a function that returns one",
            "by an engine with this `profile=`, and by `--profile`",
        ),
        PluginGroup(
            COMMAND_GROUP,
            "command",
            "a `click.Command`",
            "by `asyncflow NAME`",
        ),
        PluginGroup(
            CHECK_GROUP,
            "check",
            "a function that returns the `CheckResult`s of a site",
            "by `asyncflow doctor`",
        ),
        PluginGroup(
            SECTION_GROUP,
            "report section",
            "a function that takes a `RunRecord` and returns a `Section`, or None",
            "by `asyncflow report` and `asyncflow show`",
        ),
        PluginGroup(
            STORE_GROUP,
            "artifact store",
            "a callable that takes a text and returns an `ArtifactStore`",
            "by `asyncflow report --store`",
        ),
    )
}
"""All groups, by name."""
