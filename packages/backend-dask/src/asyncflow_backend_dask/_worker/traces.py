"""The output, the log records and the use of calls on a worker, on their way to the program."""

from __future__ import annotations

import pickle
import threading
from typing import Any

from radical.asyncflow.backend import TaskUsage
from radical.asyncflow.worker import (
    Meter,
    TaskContext,
    current_task,
    forward_logs,
    keep_output,
)

from .._messages.events import LOG, TRACE
from .._messages.orders import TraceOrder
from .outbox import EventOutbox

__all__ = ["CallContext", "RanksMeter", "Traces"]


class CallContext(TaskContext):
    """One attempt at one task of one run.

    Attributes:
        topic: the topic of the run.
        key: the key of its Dask task.
    """

    __slots__ = ("key", "topic")

    def __init__(self, topic: str, key: str, name: str, task_id: int, attempt: int) -> None:
        super().__init__(name, task_id, attempt)
        self.topic = topic
        self.key = key


class RanksMeter:
    """The sum of what the ranks of one call say that they used, in the place of a `Meter`."""

    def __init__(self) -> None:
        self._usage: TaskUsage | None = None

    def take(self, usage: TaskUsage) -> None:
        """Take what they used together."""
        self._usage = usage

    def end(self) -> TaskUsage | None:
        """Return it; None of a call that failed, of which nothing is known."""
        return self._usage


class Traces:
    """The traces of the calls on one worker.

    Args:
        alone: whether the process is the worker's own and runs one call at a time.
        is_own: whether the process is the worker's own, and not the program.
    """

    def __init__(self, outbox: EventOutbox, *, is_own: bool, alone: bool) -> None:
        self._outbox = outbox
        self._is_own = is_own
        self._alone = alone
        self._keeps_output = False
        self._logs: bytes | None = None
        self._lock = threading.Lock()
        self._by_thread = threading.local()

    def follow(self, order: TraceOrder) -> None:
        """Do what *order* wants of this process from now on."""
        if not self._is_own:
            return  # the program has its logging, and keeps its output itself
        if order.logs is not None and order.logs != self._logs:
            with self._lock:
                if self._logs != order.logs:
                    forwards = self._logs is not None
                    self._logs = order.logs
                    forward_logs(pickle.loads(order.logs), None if forwards else self._send_log)
        if order.output and not self._keeps_output:
            with self._lock:
                if not self._keeps_output:
                    self._keeps_output = True
                    keep_output()

    def share(self) -> None:
        """Note that the process runs several calls at a time from now on."""
        self._alone = False

    def meter(self) -> Meter:
        """Return the meter of this thread."""
        meter: Meter | None = getattr(self._by_thread, "meter", None)
        if meter is None:
            meter = self._by_thread.meter = Meter(whole_process=False, alone=self._alone)
        return meter

    def tell(self, context: CallContext, meter: Meter | RanksMeter | None) -> None:
        """Tell what a call left behind; call this before its end is told."""
        used = None if meter is None else meter.end()
        usage = None if used is None else tuple(used)
        kept = None if context.kept is None else pickle.dumps(context.kept.trace(), 5)
        if usage is not None or kept is not None:
            data = usage, kept
            self._put(context, TRACE, data)

    def _send_log(self, record: bytes) -> bool:
        context = current_task()
        if not isinstance(context, CallContext):
            return False
        self._put(context, LOG, record)
        self._outbox.flush()
        return True

    def _put(self, of: CallContext, kind: int, data: Any) -> None:
        self._outbox.put(of.topic, of.key, kind, of.task_id, of.attempt, 0.0, data)
