"""The contract between the engine and an execution backend.

A backend is a class derived from `ExecutionBackend`.  Its distribution declares
an entry point in the group ``radical.asyncflow.backends`` whose name is the
backend's and whose module holds one hook, and imports nothing heavy::

    from radical.asyncflow.backend import BackendSpec, Capabilities, TaskKind, hookimpl

    @hookimpl
    def asyncflow_backend():
        return BackendSpec(
            name="mine",
            summary="Runs tasks on my machine",
            factory="my_package.backend:MyBackend",
            config_model="my_package.config:MyConfig",
            capabilities=Capabilities(kinds={TaskKind.FUNCTION}),
        )

Five promises, which `radical.asyncflow.testing.BackendConformance` tests:

1. Every task that was submitted gets exactly one terminal report, from any thread.
2. A failure carries the original exception with its remote traceback, or a
   faithful stand-in where that cannot be pickled.
3. The work of a cancelled task stops where `Capabilities.kills_running` says so,
   with its whole process tree.
4. One bad task never harms another.
5. Nothing is left after `shutdown`: no process, thread, descriptor or file.
"""

from __future__ import annotations

from .._hookmarkers import hookimpl
from ..lazy import lazy_names
from ._contract import (
    API_VERSION,
    Answer,
    AnyReport,
    BackendSpec,
    Capabilities,
    Command,
    ExecutableResult,
    ExecutionBackend,
    LogLine,
    Prompt,
    RemoteValue,
    Report,
    ReportSink,
    Resources,
    Route,
    Serving,
    TaskId,
    TaskKind,
    TaskRef,
    TaskRequest,
    TaskSpec,
    TaskState,
    TaskTrace,
    TaskUsage,
    Usage,
    Written,
    closed_error,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._outside.backend import OutOfProcessBackend
    from ._waits import Wait, WaitKind

__all__ = [
    "API_VERSION",
    "Answer",
    "AnyReport",
    "BackendSpec",
    "Capabilities",
    "Command",
    "ExecutableResult",
    "ExecutionBackend",
    "LogLine",
    "OutOfProcessBackend",
    "Prompt",
    "RemoteValue",
    "Report",
    "ReportSink",
    "Resources",
    "Route",
    "Serving",
    "TaskId",
    "TaskKind",
    "TaskRef",
    "TaskRequest",
    "TaskSpec",
    "TaskState",
    "TaskTrace",
    "TaskUsage",
    "Usage",
    "Wait",
    "WaitKind",
    "Written",
    "closed_error",
    "hookimpl",
]

# Only somebody who asks why a task waits needs the last two, and few backends the first.
__getattr__, __dir__ = lazy_names(
    __name__,
    {"OutOfProcessBackend": "_outside.backend", "Wait": "_waits", "WaitKind": "_waits"},
)
