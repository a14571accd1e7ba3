"""The values that users give and get: what a task is, what it asks for and its states.

The life of a task::

    PENDING ──► READY ──► SUBMITTED ──► RUNNING ──► DONE
       │          ▲           │            │    ├─► FAILED
       │          └── retry ──┴────────────┘    └─► CANCELLED
       └─► FAILED, CANCELLED  (so may READY and SUBMITTED)

A ``PENDING`` task waits for its dependencies, a ``READY`` one for the next batch to its
backend, a ``SUBMITTED`` one for a worker.  Users see five names: PENDING (for these three),
RUNNING, DONE, FAILED and CANCELLED.

This room imports leaves only: it knows no event loop, thread, clock or file.
"""

from __future__ import annotations

from ..lazy import lazy_names
from ._command import Command, CommandOptions, ExecutableResult
from ._container import Container
from ._durations import parse_duration
from ._preemption import Preemption
from ._prompt import PROMPT_PARTS, Answer, Prompt, Usage
from ._resources import DEFAULT_RESOURCES, Resources, parse_size
from ._retry import RetryPolicy
from ._service import Readiness
from ._spec import DESCRIPTION_KEYS, TaskKind, TaskSpec
from ._states import TaskState
from ._trace import LogLine, TaskTrace, TaskUsage, Written
from ._uses import Env

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._waiting import TaskNow, Wait, WaitCause, Waiting, WaitKind, WaitReason

__all__ = [
    "DEFAULT_RESOURCES",
    "DESCRIPTION_KEYS",
    "PROMPT_PARTS",
    "Answer",
    "Command",
    "CommandOptions",
    "Container",
    "Env",
    "ExecutableResult",
    "LogLine",
    "Preemption",
    "Prompt",
    "Readiness",
    "Resources",
    "RetryPolicy",
    "TaskKind",
    "TaskNow",
    "TaskSpec",
    "TaskState",
    "TaskTrace",
    "TaskUsage",
    "Usage",
    "Wait",
    "WaitCause",
    "WaitKind",
    "WaitReason",
    "Waiting",
    "Written",
    "parse_duration",
    "parse_size",
]

# Only somebody who asks why a task waits needs them.
__getattr__, __dir__ = lazy_names(
    __name__,
    dict.fromkeys(
        ("TaskNow", "Wait", "WaitCause", "WaitKind", "WaitReason", "Waiting"), "_waiting"
    ),
)
