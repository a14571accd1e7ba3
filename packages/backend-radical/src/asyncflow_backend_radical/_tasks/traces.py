"""The traces of functions: what they printed, logged and used, as their workers tell it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from radical.asyncflow.backend import (
    LogLine,
    ReportSink,
    TaskRequest,
    TaskTrace,
    TaskUsage,
)
from radical.asyncflow.worker import log_setup, take_log

from .._worker.traces import Wanted

__all__ = ["Traces"]


class Traces:
    """The traces of all functions of one backend.

    Attributes:
        wanted: what the workers are asked for.
    """

    def __init__(self, traced: Callable[[int, int, TaskTrace], None], wanted: Wanted) -> None:
        """Tell the traces by *traced*, with the task and the attempt."""
        self.wanted = wanted
        self._traced = traced
        self._records: list[bytes] = []

    @classmethod
    def of(cls, sink: ReportSink, *, forward_logs: bool) -> Traces:
        """Return what takes the traces that *sink* wants."""
        logs = pickle.dumps(log_setup(), 5) if forward_logs else None
        return cls(sink.traced, Wanted(logs, sink.keeps_output, sink.keeps_usage))

    def take(self, request: TaskRequest, pickled: bytes | memoryview) -> None:
        """Tell the trace of *request*, as its worker has pickled it, if there is one."""
        if not pickled:
            return
        usage, kept, records = pickle.loads(pickled)
        self._records += records
        if usage is not None or kept is not None:
            self._traced(request.task_id, request.attempt, _trace(usage, kept))

    def tell(self, request: TaskRequest, trace: TaskTrace) -> None:
        """Tell the *trace* of a command, if there is something in it."""
        if trace != TaskTrace():
            self._traced(request.task_id, request.attempt, trace)

    def hand_on_records(self) -> None:
        """Hand the log records that came to the logging of the program; hold no lock."""
        records, self._records = self._records, []
        for record in records:
            take_log(pickle.loads(record))


def _trace(usage: Any, kept: Any) -> TaskTrace:
    trace = TaskTrace(usage=None if usage is None else TaskUsage(*usage))
    if kept is not None:
        stdout, stderr, logs, cut = kept
        lines = tuple([LogLine(*line) for line in logs])
        trace = trace._replace(stdout=stdout, stderr=stderr, logs=lines, cut=cut)
    return trace
