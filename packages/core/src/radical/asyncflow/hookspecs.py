"""The hooks that a plugin may implement; pluggy rejects any other name.

There are two groups of entry points: ``radical.asyncflow.backends`` for execution backends,
where the name of the entry point is that of the backend, and ``radical.asyncflow.plugins`` for
everything else.  A plugin is a module or a class whose functions carry ``@hookimpl``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._hookmarkers import hookimpl, hookspec

if TYPE_CHECKING:
    import click

    from .backend import BackendSpec
    from .events import Event
    from .model import TaskSpec

__all__ = ["BACKEND_GROUP", "PLUGIN_GROUP", "Carrier", "hookimpl", "hookspec"]

BACKEND_GROUP = "radical.asyncflow.backends"
PLUGIN_GROUP = "radical.asyncflow.plugins"


class Carrier:
    """A plugin's way into the tasks of one run, wherever they run; override what you need.

    Its methods cannot harm a run: an error is logged the first time, and the run goes on.

    Attributes:
        enter: ``"module:function"``, importable where tasks run.  The function is called there
            with the headers, and returns a context manager that is entered around the body of
            the task.  For a block or an executable, the body runs in the engine's loop.
    """

    enter: str | None = None

    def carry(self, spec: TaskSpec, task_id: int) -> Any:  # noqa: ARG002
        """Return the headers of this call, which are pickled with it; None for nothing.

        The engine calls this at each call of a task, in the caller's context and thread, so it
        must be quick.  A retry has the same headers.
        """
        return None

    def environment(self, headers: Any) -> Mapping[str, str]:  # noqa: ARG002
        """Return variables for the command of an executable task; those it sets take precedence."""
        return {}

    def events(self, events: Sequence[Event]) -> None:
        """Observe this run alone, as `asyncflow_events` observes every run."""


@hookspec(firstresult=True)
def asyncflow_backend() -> BackendSpec | None:
    """Return the spec of the backend that this module declares, and import nothing heavy."""


@hookspec
def asyncflow_profiles() -> Mapping[str, Mapping[str, Any]]:  # type: ignore[empty-body]
    """Return the profiles of a site: ``{name: {"backend": ..., "config": {...}}}``.

    They have the form of the profiles in ``asyncflow.toml``, which take precedence.
    """


@hookspec
def asyncflow_events(events: Sequence[Event]) -> None:
    """Observe every run: take the events since the last call.

    Each engine calls it in a thread of its own, so it may block.  The calls of one engine come
    one after the other, and the first event is its `RunEvent`.  A plugin cannot harm a run:
    after three errors it is not called again; if it is very far behind, it misses events of
    tasks; if it still works two seconds after the end, it is left behind.
    """


@hookspec
def asyncflow_carrier(run: str) -> Carrier | None:
    """Return the carrier for the tasks of the run with the uid *run*; None for none.

    This is called once for each engine, when its backends are up, in its loop and in the
    context that creates the engine, so it must be quick.
    """


@hookspec
def asyncflow_cli(group: click.Group) -> None:
    """Add commands to ``asyncflow``."""
