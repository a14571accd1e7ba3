"""The traces of functions in a worker, which travel with their answers.

Plain values travel, because their classes are in modules that a worker need not import.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from radical.asyncflow.worker import Meter, TaskContext

__all__ = ["Tracer", "Wanted"]


class Wanted(NamedTuple):
    """The wishes of the program for what functions leave behind.

    Attributes:
        logs: the pickled `LogSetup` of the program, which gets log records; None if it does not.
        output, usage: whether it keeps what functions print and log, and what they use.
    """

    logs: bytes | None = None
    output: bool = False
    usage: bool = False


class Tracer:
    """The traces of the functions of one worker, which runs one at a time."""

    def __init__(self) -> None:
        self._wanted = Wanted()
        self._records: list[bytes] = []
        self._meter: Meter | None = None

    def begin(self, wanted: Wanted, function: bytes) -> None:
        """Do what is *wanted* for the call of a pickled *function*."""
        if not any(wanted) and self._wanted == wanted:
            return
        # Imported when they are wanted, because they import far more than a worker needs.
        from radical.asyncflow.worker import Meter, forward_logs, keep_output

        before, self._wanted = self._wanted, wanted
        if wanted.logs is not None and wanted.logs != before.logs:
            send = None if before.logs is not None else self._records.append
            forward_logs(pickle.loads(wanted.logs), send)
        if wanted.output and not before.output:
            keep_output()
        if wanted.usage:
            self._meter = self._meter or Meter(whole_process=True)
            self._meter.begin(hash(function))

    def end(self, context: TaskContext) -> bytes:
        """Return the trace of the call, pickled; nothing if there is none."""
        usage = None if self._meter is None else tuple(self._meter.end())
        kept = None
        if context.kept is not None:
            stdout, stderr, logs, cut, _ = context.kept.trace()
            kept = stdout, stderr, [tuple(line) for line in logs], cut
        records = self._records[:]
        self._records.clear()
        if usage is None and kept is None and not records:
            return b""
        return pickle.dumps((usage, kept, records), 5)
