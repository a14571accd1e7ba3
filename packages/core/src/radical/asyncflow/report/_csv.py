"""The tasks of a run as CSV, one row for each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from .._public import public
from .._text import task_id_text
from ..journal import RunRecord, TaskRecord
from ..model import TaskUsage
from ._lanes import busy_seconds

__all__ = ["COLUMNS", "render_csv"]

COLUMNS = (
    "run",
    "task",
    "name",
    "kind",
    "state",
    "backend",
    "worker",
    "workflow",
    "attempt",
    "added",
    "ready",
    "started",
    "ended",
    "seconds",
    "after",
    "key",
    "reused",
    "why",
    "error",
    "message",
    "exit_code",
    "result_bytes",
    "cpu_seconds",
    "peak_memory",
    "read_bytes",
    "written_bytes",
    "served",
)

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


@public("radical.asyncflow.report")
def render_csv(run: RunRecord) -> str:
    """Return the tasks of *run* as a table with a header line.

    Times are seconds since the run began; ``seconds`` is the time of all attempts of a
    task together, up to the end of the record for one that has not ended.  ``served`` is when a
    service ended, which is done when it is up.  What a task used, in seconds and bytes, is that
    of its last attempt.  A text that a spreadsheet would take for a formula gets an apostrophe
    before it: one that begins with ``=``, ``+``, ``-`` or ``@``, or with white space that may
    hide one of these.
    """
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(COLUMNS)
    length = run.length
    for task in run.tasks.values():
        writer.writerow(map(_cell, _row(run, task, length)))
    return sheet.getvalue()


def _row(run: RunRecord, task: TaskRecord, length: float) -> Iterator[object]:
    yield from (run.uid, task.id, task.name, task.kind, task.state)
    yield from (task.backend, task.worker, task.workflow, task.attempt)
    yield from (task.added, task.ready, task.started, task.ended)
    yield round(busy_seconds(task, length), 6)
    yield " ".join(map(task_id_text, task.after))
    yield from (task.key, task.reused, task.why)
    yield task.error.type if task.error else None
    yield task.error.text if task.error else None
    yield from (task.exit_code, task.result_bytes)
    yield from task.usage or TaskUsage()
    yield task.served


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value
