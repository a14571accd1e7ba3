"""Attach to every new engine what observes it: plugins, and ``asyncflow run``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .._discovery.registry import registry
from .._watch.carriage import Carriage
from .._watch.listener import Listener
from ..hookspecs import Carrier
from ._cells import follow_cells

if TYPE_CHECKING:
    from .._dispatch.dispatcher import Dispatcher
    from .._display.watched import Watched
    from ..events import Event
    from ._asked import Asked

__all__ = ["announce", "attach_watchers", "early_watchers", "watchers"]

log = logging.getLogger("radical.asyncflow")

watchers: list[Callable[[Watched], object]] = []
"""Functions that are called with each engine, in its loop, once its backends have started."""

early_watchers: list[Callable[[Watched], object]] = []
"""Functions that are called with each engine before its backends start, which may take long."""


def announce(engine: Watched) -> None:
    """Tell `early_watchers` of *engine*; one that raises is logged."""
    for watch in early_watchers.copy():
        _call_watcher(watch, engine)


def attach_watchers(engine: Watched, dispatcher: Dispatcher, asked: Asked) -> None:
    """Attach plugins and watchers to *engine*; one that raises is logged and left out.

    Args:
        asked: the plugins that the engine was given by name.
    """
    follow_cells(dispatcher)
    carriers = [*_carriers(dispatcher.run.uid), *asked.carriers]
    listeners = [
        Listener(plugin, partial(_call, hook))
        for plugin, hook in registry.hooks("asyncflow_events")
    ]
    listeners += [Listener(plugin, observer) for plugin, observer in asked.observers]
    for plugin, carrier in carriers:
        if type(carrier).events is not Carrier.events:
            listeners.append(Listener(plugin, carrier.events))
    if carriers:
        dispatcher.run.carriage = Carriage(carriers)
    if listeners:
        dispatcher.want_running()
        dispatcher.run.observers.listen(listeners, dispatcher.run.lanes.values())
    for watch in watchers.copy():
        _call_watcher(watch, engine)


def _call_watcher(watch: Callable[[Watched], object], engine: Watched) -> None:
    try:
        watch(engine)
    except Exception:
        log.exception("%r raised on a new engine; the run goes on without it", watch)


def _carriers(run: str) -> Iterator[tuple[str, Carrier]]:
    for plugin, hook in registry.hooks("asyncflow_carrier"):
        try:
            carrier = hook(run=run)
            if carrier is not None and not isinstance(carrier, Carrier):
                raise TypeError(
                    f"asyncflow_carrier() must return a Carrier or None, not {carrier!r}"
                )
        except Exception:
            log.exception("plugin %s raised on a new engine; the run goes on without it", plugin)
        else:
            if carrier is not None:
                yield plugin, carrier


def _call(hook: Callable[..., Any], events: Sequence[Event]) -> None:
    hook(events=events)
