"""Plugins and the hooks they implement: loaded one at a time, each inside a guard."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pluggy

from .. import hookspecs
from .._hookmarkers import PROJECT
from .._reference import load_reference
from .metadata import Declaration, Status, is_disabled, judge, scan

__all__ = ["Plugins"]

_log = logging.getLogger("radical.asyncflow")


class Plugins:
    """A pluggy manager that no plugin can bring down.

    pluggy's own ``load_setuptools_entrypoints`` imports every plugin, and the first
    that raises stops the rest.
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._loaded = False

    def load(self) -> pluggy.PluginManager:
        """Load the group ``radical.asyncflow.plugins``, once.

        A plugin that does not load is logged as a warning and left out.
        """
        if not self._loaded:
            self._loaded = True
            for declaration in scan(hookspecs.PLUGIN_GROUP):
                if not is_disabled(declaration):
                    self._load(declaration)
        return self._manager

    def hooks(self, hook: str) -> list[tuple[str, Callable[..., Any]]]:
        """The implementations of *hook*, each with its plugin's name."""
        caller: pluggy.HookCaller = getattr(self.load().hook, hook)
        return [(impl.plugin_name, impl.function) for impl in caller.get_hookimpls()]

    def backend(self, title: str, plugin: Any) -> Any:
        """What *plugin*'s own ``asyncflow_backend`` returns; None if it has no such hook.

        Raises whatever the plugin raises, and then leaves nothing of it behind.
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
            # pluggy keeps a plugin that it found to be invalid.
            if manager.is_registered(plugin):
                manager.unregister(plugin)
            raise

    def _load(self, declaration: Declaration) -> None:
        title = f"{declaration.name} of {declaration.label}"
        verdict = judge(declaration)
        if verdict.status is not Status.AVAILABLE:
            _log.warning("plugin %s is left out: %s", title, verdict.reason)
            return
        try:
            self._register(title, load_reference(declaration.value))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # SystemExit at import is a failure of the plugin too; only Ctrl-C is not.
            # One line for the user; where it was raised is of use to the plugin's author.
            _log.warning("plugin %s is left out: %r", title, error)
            _log.debug("plugin %s was left out for this error", title, exc_info=error)
