"""The journal of runs: one append-only file that a killed program can be resumed from."""

from __future__ import annotations

from ._records import AttemptRecord, ErrorRecord, FunctionRecord, RunRecord, TaskRecord

__all__ = ["AttemptRecord", "ErrorRecord", "FunctionRecord", "RunRecord", "TaskRecord"]
