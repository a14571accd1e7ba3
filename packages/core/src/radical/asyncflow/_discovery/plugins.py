"""The plugins and their hooks, loaded one by one so that none can stop the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pluggy

from .. import hookspecs
from .._groups import PLUGIN_GROUP
from .._hookmarkers import PROJECT
from .listing import broken
from .lookup import load_declared
from .metadata import Availability, Declaration, Status, check_distribution, is_disabled, scan

__all__ = ["Plugins"]

_log = logging.getLogger("radical.asyncflow")


class Plugins:
    """A pluggy manager that no broken plugin can stop.

    pluggy's own ``load_setuptools_entrypoints`` imports all plugins, and the first that
    raises keeps the rest from being loaded.

    Attributes:
        failures: the plugins that could not be loaded.
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._loaded = False
        self.failures: dict[Declaration, Availability] = {}

    def load(self) -> pluggy.PluginManager:
        """Load the group ``radical.asyncflow.plugins`` on the first call.

        A plugin that cannot be loaded is left out, with a warning in the log.
        """
        if not self._loaded:
            self._loaded = True
            for declaration in scan(PLUGIN_GROUP):
                if not is_disabled(declaration):
                    self._load(declaration)
        return self._manager

    def hooks(self, hook: str) -> list[tuple[str, Callable[..., Any]]]:
        """Return the implementations of *hook*, each with the name of its plugin."""
        caller: pluggy.HookCaller = getattr(self.load().hook, hook)
        return [(impl.plugin_name, impl.function) for impl in caller.get_hookimpls()]

    def has(self, declaration: Declaration) -> bool:
        """Tell whether the plugin of *declaration* was loaded."""
        return bool(self._manager.has_plugin(declaration.title))

    def backend(self, title: str, plugin: Any) -> Any:
        """Return what ``asyncflow_backend`` of *plugin* returns; None if it has no such hook.

        This raises what the plugin raises; such a plugin is not kept.
        """
        known = self._manager.is_registered(plugin)
        self._register(title, plugin)
        others = [one for one in self._manager.get_plugins() if one is not plugin]
        try:
            return self._manager.subset_hook_caller("asyncflow_backend", others)()
        except BaseException:
            if not known:
                self._manager.unregister(plugin)
            raise

    def _register(self, title: str, plugin: Any) -> None:
        manager = self._manager
        if manager.is_registered(plugin):
            return
        try:
            manager.register(plugin, name=title)
            manager.check_pending()
        except BaseException:
            # pluggy keeps even a plugin that it found invalid.
            if manager.is_registered(plugin):
                manager.unregister(plugin)
            raise

    def _load(self, declaration: Declaration) -> None:
        title = declaration.title
        availability = check_distribution(declaration)
        if availability.status is not Status.AVAILABLE:
            self.failures[declaration] = availability
            _log.warning("plugin %s is left out: %s", title, availability.reason)
            return
        try:
            self._register(title, load_declared(declaration))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # SystemExit at import is a failure of the plugin too; only Ctrl-C is not.
            # Users get one line; the author of the plugin gets the traceback.
            self.failures[declaration] = broken(declaration, error)
            _log.warning("plugin %s is left out: %s", title, self.failures[declaration].reason)
            _log.debug("plugin %s was left out because of this error", title, exc_info=error)
