"""Who is told of every new engine: plugins that observe runs, and ``asyncflow run``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ._registry import registry

if TYPE_CHECKING:
    from .engine import WorkflowEngine
    from .events import TaskEvent

__all__ = ["introduce", "watchers"]

log = logging.getLogger("radical.asyncflow")

watchers: list[Callable[[WorkflowEngine], object]] = []
"""Called with each engine once its backends have started, in its loop."""


def introduce(engine: WorkflowEngine) -> None:
    """Show *engine* to all of them; one that raises is logged and harms nobody."""
    for plugin, hook in registry.hooks("asyncflow_events"):
        engine.observe(_PluginObserver(plugin, hook))
    for watch in watchers.copy():
        try:
            watch(engine)
        except Exception:
            log.exception("%r raised on a new engine; the run goes on", watch)


class _PluginObserver:
    """The hook ``asyncflow_events`` of one plugin, for one engine."""

    def __init__(self, plugin: str, hook: Callable[..., Any]) -> None:
        self._plugin = plugin
        self._hook = hook

    def __call__(self, events: Sequence[TaskEvent]) -> None:
        self._hook(events=events)

    def __repr__(self) -> str:
        return f"<plugin {self._plugin}>"
