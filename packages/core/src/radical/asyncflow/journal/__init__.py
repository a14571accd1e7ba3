"""The journal of runs: one append-only file from which a killed program is resumed.

This room writes, locks, reads and repairs the file, and recalls results from it.  It knows
neither tasks nor backends, and imports only the leaves of the core.
"""

from __future__ import annotations

from ._format import (
    attempt_failed,
    backend_down,
    backend_up,
    function_used,
    run_begun,
    run_ended,
    scalar,
    task_done,
    task_ended,
    task_reused,
    task_started,
    unstored,
)
from ._reader import Damage, read
from ._recalled import Recalled
from ._records import AttemptRecord, ErrorRecord, FunctionRecord, RunRecord, TaskRecord
from ._repair import Repair, repair
from ._writer import Journal, JournalWriter, Record

__all__ = [
    "AttemptRecord",
    "Damage",
    "ErrorRecord",
    "FunctionRecord",
    "Journal",
    "JournalWriter",
    "Recalled",
    "Record",
    "Repair",
    "RunRecord",
    "TaskRecord",
    "attempt_failed",
    "backend_down",
    "backend_up",
    "function_used",
    "read",
    "repair",
    "run_begun",
    "run_ended",
    "scalar",
    "task_done",
    "task_ended",
    "task_reused",
    "task_started",
    "unstored",
]
