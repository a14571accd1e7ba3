"""The plugins that users ask for by name: observers, carriers, profiles, commands and others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from .._groups import COMMAND_GROUP, GROUPS, PROFILE_GROUP
from .._text import safe_repr
from ..errors import PluginBrokenError, PluginError, PluginIncompatibleError, PluginNotFoundError
from .listing import broken
from .lookup import article, explain_missing, load_declared, select
from .metadata import AVAILABLE, Availability, Declaration, Status, check_distribution, scan

__all__ = ["NamedPlugin", "NamedPlugins"]

_log = logging.getLogger("radical.asyncflow")

_ERRORS: Mapping[Status, type[PluginError]] = {
    Status.NOT_INSTALLED: PluginNotFoundError,
    Status.MISSING_DEPENDENCY: PluginNotFoundError,
    Status.INCOMPATIBLE: PluginIncompatibleError,
    Status.BROKEN: PluginBrokenError,
}


class NamedPlugin(NamedTuple):
    """A plugin that was found, where it comes from (None if from nowhere), and its availability."""

    name: str
    source: Declaration | None
    availability: Availability

    @property
    def is_available(self) -> bool:
        """True if it can be used, as far as is known without loading it."""
        return self.availability.status is Status.AVAILABLE


class NamedPlugins:
    """The plugins of the groups in which the name of an entry point is the plugin's own.

    They are found like backends: listing reads metadata only, a plugin is imported when somebody
    asks for it, and a failure of that is remembered.  Any thread may call any method.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._objects: dict[Declaration, Any] = {}
        self._failures: dict[Declaration, Availability] = {}

    def found(self, group: str) -> dict[str, NamedPlugin]:
        """Return the plugins of *group* by name, in alphabetical order, and import nothing."""
        declared: dict[str, list[Declaration]] = {}
        for declaration in scan(group):
            declared.setdefault(declaration.name, []).append(declaration)
        noun = GROUPS[group].noun
        return {
            name: self._named(name, *select(noun, name, declared[name]))
            for name in sorted(declared)
        }

    def load(self, group: str, name: str) -> Any:
        """Import and return the plugin *name* of *group*.

        Raises:
            PluginNotFoundError: it is unknown, not installed, or lacks a requirement.
            PluginBrokenError: it does not load; ``__cause__`` is the real error.
            PluginIncompatibleError: it was written for another core or Python.
        """
        with self._lock:
            plugin = self.found(group).get(name) or NamedPlugin(name, *select("", name, ()))
            if plugin.source is not None and plugin.is_available:
                plugin = plugin._replace(availability=self.availability(plugin.source, load=True))
            if plugin.source is None or not plugin.is_available:
                raise self._unavailable(group, plugin)
            return self._objects[plugin.source]

    def load_all(self, group: str) -> list[tuple[Declaration, Any]]:
        """Import all plugins of *group*; the log names each that fails, once, with its reason."""
        loaded: list[tuple[Declaration, Any]] = []
        with self._lock:
            for plugin in self.found(group).values():
                source = plugin.source
                if source is None:
                    continue  # disabled
                known = source in self._failures
                if plugin.is_available:
                    plugin = plugin._replace(availability=self.availability(source, load=True))
                if plugin.is_available:
                    loaded.append((source, self._objects[source]))
                elif not known:
                    self._failures[source] = plugin.availability
                    what = f"{GROUPS[group].noun} {source.title}"
                    reason, cause = plugin.availability.reason, plugin.availability.cause
                    _log.warning("%s is left out: %s", what, reason)
                    if cause is not None:
                        _log.debug("%s was left out because of this error", what, exc_info=cause)
        return loaded

    def availability(self, source: Declaration, *, load: bool = False) -> Availability:
        """Return whether *source* can be used; with *load*, import it to see."""
        with self._lock:
            if source in self._failures:
                return self._failures[source]
            availability = check_distribution(source)
            if not load or source in self._objects or availability.status is not Status.AVAILABLE:
                return availability
            try:
                loaded = load_declared(source)
                _check_kind(source, loaded)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                # SystemExit at import is a failure of the plugin too; only Ctrl-C is not.
                self._failures[source] = broken(source, error)
                return self._failures[source]
            self._objects[source] = loaded
            return AVAILABLE

    def is_loaded(self, source: Declaration) -> bool:
        """Tell whether *source* was imported."""
        return source in self._objects

    def _named(self, name: str, source: Declaration | None, wrong: Availability) -> NamedPlugin:
        if source is not None and wrong == AVAILABLE:
            wrong = self.availability(source)
        return NamedPlugin(name, source, wrong)

    def _unavailable(self, group: str, plugin: NamedPlugin) -> PluginError:
        found = self.found(group)
        error = _ERRORS[plugin.availability.status](
            explain_missing(
                GROUPS[group].noun,
                plugin.name,
                plugin.availability,
                usable=[name for name, one in found.items() if one.is_available],
                known=None if plugin.name in found else found,
            )
        )
        error.__cause__ = plugin.availability.cause
        return error


def _check_kind(source: Declaration, loaded: Any) -> None:
    """Raise TypeError unless *loaded* is what an entry point of its group names."""
    if source.group == COMMAND_GROUP:
        import click

        right = isinstance(loaded, click.Command)
    elif source.group == PROFILE_GROUP:
        right = isinstance(loaded, Mapping) or callable(loaded)
    else:
        right = callable(loaded)
    if not right:
        group = GROUPS[source.group]
        raise TypeError(
            f"{source.value} must be {group.names} to be {article(group.noun)}, "
            f"not {safe_repr(loaded)}"
        )
