"""What a backend needs on the side where a task really runs.

Nothing here knows the engine or asyncio's side of it: the functions are called in
a worker's thread or process.  Everything but the context is imported on first use,
because the face of the package needs the context alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._context import TaskContext, cancelled, current_task

if TYPE_CHECKING:
    from ._call import call, close_loop
    from ._command import Execution
    from ._failure import Failure
    from ._guard import Guard, child_environment, guard
    from ._output import Output
    from ._processes import signal_group

__all__ = [
    "Execution",
    "Failure",
    "Guard",
    "Output",
    "TaskContext",
    "call",
    "cancelled",
    "child_environment",
    "close_loop",
    "current_task",
    "guard",
    "signal_group",
]

_HOMES = {
    "Execution": "_command",
    "Failure": "_failure",
    "Guard": "_guard",
    "Output": "_output",
    "call": "_call",
    "child_environment": "_guard",
    "close_loop": "_call",
    "guard": "_guard",
    "signal_group": "_processes",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value
