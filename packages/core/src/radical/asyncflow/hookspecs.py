"""The hooks that a plugin may implement; pluggy rejects any other name.

Two entry point groups: ``radical.asyncflow.backends`` for execution backends (the
entry point's name is the backend's), ``radical.asyncflow.plugins`` for everything
else.  A plugin is a module or a class whose functions carry ``@hookimpl``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from .backend import BackendSpec
    from .events import TaskEvent

__all__ = ["BACKEND_GROUP", "PLUGIN_GROUP", "hookimpl", "hookspec"]

PROJECT = "asyncflow"
BACKEND_GROUP = "radical.asyncflow.backends"
PLUGIN_GROUP = "radical.asyncflow.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def asyncflow_backend() -> BackendSpec | None:
    """The backend that this module declares.  It must import nothing heavy."""


@hookspec
def asyncflow_profiles() -> Mapping[str, Mapping[str, Any]]:  # type: ignore[empty-body]
    """Site profiles, as in ``asyncflow.toml``: ``{name: {"backend": ..., "config": {...}}}``."""


@hookspec
def asyncflow_events(events: Sequence[TaskEvent]) -> None:
    """Observe a run: called in the engine's loop with the events since the last call."""


@hookspec
def asyncflow_cli(group: click.Group) -> None:
    """Add verbs to the ``asyncflow`` command."""
