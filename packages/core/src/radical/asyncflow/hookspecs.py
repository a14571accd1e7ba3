"""The groups of entry points, the hooks, and the values that plugins give.

The name of an entry point is the name by which users ask for it, and nothing is imported before
they do.  `GROUPS` lists the groups.  In two of them, an entry point is a module (or a class) whose
functions carry ``@hookimpl``: in ``radical.asyncflow.backends`` it declares a backend, and in
``radical.asyncflow.plugins`` it acts on every run.  pluggy rejects any other name of a hook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ._groups import (
    BACKEND_GROUP,
    CARRIER_GROUP,
    CHECK_GROUP,
    COMMAND_GROUP,
    GROUPS,
    OBSERVER_GROUP,
    PLUGIN_GROUP,
    PROFILE_GROUP,
    SECTION_GROUP,
    STORE_GROUP,
    PluginGroup,
)
from ._hookmarkers import hookimpl, hookspec

if TYPE_CHECKING:
    import click

    from .backend import BackendSpec, ExecutionBackend
    from .events import Event
    from .model import TaskSpec

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
    "ArtifactStore",
    "Carrier",
    "CheckResult",
    "PluginGroup",
    "hookimpl",
    "hookspec",
]


class CheckResult(NamedTuple):
    """One line of ``asyncflow doctor``.

    Attributes:
        title: what was checked.
        passed: None for a fact that is neither good nor bad.
        detail: what was found; if the check failed, why it did.
        fix: how to fix it.
    """

    title: str
    passed: bool | None
    detail: str = ""
    fix: str = ""


class ArtifactStore:
    """A place outside of this machine, or on it, where files of a run are kept."""

    def put(self, run: str, path: Path) -> str:
        """Copy the file *path*, which belongs to the run with the uid *run*.

        Return where the copy is, in words that help a user to find it: a path or an address.  The
        file is gone soon after.
        """
        raise NotImplementedError


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


@hookspec(firstresult=True)
def asyncflow_adopt_backend(backend: Any) -> ExecutionBackend | None:
    """Return what runs tasks on *backend*, an object of a library that is not this one.

    `WorkflowEngine.create` calls this when it is given such an object as its backend, for the
    plugins of both groups.  Return None at once, and import nothing, if it is none of yours.
    """


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
