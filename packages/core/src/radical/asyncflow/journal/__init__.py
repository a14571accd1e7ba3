"""The journal of runs: one append-only file from which a killed program is resumed.

This room writes, locks, reads and repairs the file, and recalls results from it.  It knows
neither tasks nor backends, and imports only the leaves of the core.  The engine writes with
the private modules; programs set a `Journal` up, read and repair it.
"""

from __future__ import annotations

from ._reader import Damage, read
from ._records import AttemptRecord, ErrorRecord, FunctionRecord, RunRecord, TaskRecord
from ._repair import Repair, repair
from ._writer import Journal

__all__ = [
    "AttemptRecord",
    "Damage",
    "ErrorRecord",
    "FunctionRecord",
    "Journal",
    "Repair",
    "RunRecord",
    "TaskRecord",
    "read",
    "repair",
]
