"""Names that programs for the public AsyncFlow import: each warns, and gives ours.

The modules `workflow_manager`, `data`, `backends` and `logging` consist of such names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from .deprecation import warn_deprecated

__all__ = ["GONE_OF_ENGINE", "former_name", "former_names"]

_INSIDE = "use flow.plan(), flow.observe(callback) and the state of futures"

GONE_OF_ENGINE: Mapping[str, str] = {
    "start_telemetry": (
        "use flow.observe(callback) for events, journal= for a record with a live page and a "
        "report, or the plugin asyncflow-plugin-otel for OpenTelemetry"
    ),
    **dict.fromkeys(("components", "running", "resolved", "task_callbacks"), _INSIDE),
    **dict.fromkeys(("handle_task_failure", "handle_task_cancellation"), _INSIDE),
}
"""What to use in place of what the engine of the public package has and ours has not."""


def former_name(module: str, name: str, home: str) -> Any:
    """Warn that *name* of *module* is *home* now, and return what that is.

    Args:
        home: ``"module:name"`` below ``radical.asyncflow``; the module may be "", and without a
            colon it is the module itself.
    """
    below, _, attribute = home.partition(":")
    where = ".".join(filter(None, ["radical.asyncflow", below]))
    warn_deprecated(
        f"{module}.{name}",
        since="1.0",
        removal="2.0",
        instead=f"use {'.'.join(filter(None, [where, attribute]))}",
    )
    value: Any = import_module(where)
    return getattr(value, attribute) if attribute else value


def former_names(
    module: str, homes: Mapping[str, str], *, gone: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of *module*, which has the names of *homes*.

    Nothing is kept in the module, so that each line that uses a name is warned about.

    Args:
        homes: where each name is now, as for `former_name`.
        gone: what to say of names that nothing stands for any more.
    """

    def load(name: str) -> Any:
        if name in homes:
            return former_name(module, name, homes[name])
        if gone is not None and name in gone:
            raise ImportError(f"there is no {module}.{name}: {gone[name]}")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return load, lambda: sorted(homes)
