"""The receiver of what happens on a node: it sends all of it to the program."""

from __future__ import annotations

import asyncio
import pickle
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from radical.asyncflow.backend import AnyReport, Serving, TaskState, TaskTrace
from radical.asyncflow.errors import WorkerLostError
from radical.asyncflow.worker import Failure, dump, read_clock, unsent

from .._wire.messages import Buffer, Event, Setup
from .functions import SKIPPED

__all__ = ["NodeSink"]

_PORT_HERE = re.compile(r"localhost:\d+")
_Send = Callable[[Any, Sequence[Buffer]], None]


class NodeSink:
    """The `ReportSink` of a node; any thread may call any method."""

    watched = True

    def __init__(
        self, setup: Setup, address: str, send: _Send, lose: Callable[[BaseException], None]
    ) -> None:
        """Send nothing yet.

        Args:
            address: that of this machine, for those who use its services.
            send: called in the loop with a list of events, and the buffers beside them.
            lose: called when the node's own backend is lost.
        """
        self.uid = setup.uid
        self.keeps_output = setup.keeps_output
        self.keeps_usage = setup.keeps_usage
        self._work_dir = Path(setup.work_dir)
        self._address = address
        self._send = send
        self._lose = lose
        self._loop = asyncio.get_running_loop()
        self._events: deque[tuple[tuple[Any, ...], Sequence[Buffer]]] = deque()
        self._lock = Lock()
        self._is_awake = False
        self.is_ending = False
        """Whether something ends all processes of this node: the program learns what did."""
        self.functions: set[int] = set()
        """The ids of tasks that return answers, and not values."""

    def work_dir(self) -> Path:
        return self._work_dir

    def report(self, reports: Iterable[AnyReport]) -> None:
        for task_id, attempt, state, value, time in reports:
            self._add(task_id, attempt, state, value, time)
        self._wake()

    def running(self, task_id: int, attempt: int, worker: str | None = None) -> None:
        self._add(task_id, attempt, TaskState.RUNNING, worker, None)
        self._wake()

    def done(self, task_id: int, attempt: int, value: Any) -> None:
        self._add(task_id, attempt, TaskState.DONE, value, None)
        self._wake()

    def failed(self, task_id: int, attempt: int, error: BaseException) -> None:
        self._add(task_id, attempt, TaskState.FAILED, error, None)
        self._wake()

    def cancelled(self, task_id: int, attempt: int) -> None:
        self._add(task_id, attempt, TaskState.CANCELLED, None, None)
        self._wake()

    def serving(self, task_id: int, attempt: int, serving: Serving) -> None:
        if serving.info is not None and _PORT_HERE.fullmatch(serving.info):
            port = serving.info.partition(":")[2]
            serving = serving._replace(info=f"{self._address}:{port}")
        self.tell(Event.SERVING, task_id, attempt, tuple(serving))

    def output(self, task_id: int, attempt: int, text: str, offset: int = 0) -> None:
        self.tell(Event.OUTPUT, task_id, attempt, text, offset)

    def traced(self, task_id: int, attempt: int, trace: TaskTrace) -> None:
        self.tell(Event.TRACE, task_id, attempt, pickle.dumps(trace, 5))

    def lost(self, error: BaseException, unbegun: Collection[int] = ()) -> None:
        del unbegun
        self._lose(error)

    def tell(self, event: Event, *content: Any) -> None:
        """Send another event."""
        self._events.append(((int(event), *content), ()))
        self._wake()

    def flush(self) -> None:
        """Send what there is; called in the loop."""
        self._is_awake = False
        events: list[tuple[Any, ...]] = []
        buffers: list[Buffer] = []
        with self._lock:
            while self._events:
                event, beside = self._events.popleft()
                events.append(event)
                buffers += beside
            if events:
                self._send((*read_clock(), events), buffers)

    def _wake(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            try:
                self._loop.call_soon_threadsafe(self.flush)
            except RuntimeError:  # the loop is closed, and the node has ended
                self._events.clear()

    def _add(
        self, task_id: int, attempt: int, state: TaskState, value: Any, time: float | None
    ) -> None:
        moment = read_clock()[1] if time is None else time
        beside: Sequence[Buffer] = ()
        content: tuple[Any, ...] = ()
        event = Event.RUNNING
        if state is TaskState.RUNNING:
            content = (value,)
        elif state is TaskState.DONE:
            if task_id in self.functions:
                self.functions.discard(task_id)
                code, body, *beside = value
                if code == SKIPPED:
                    event = Event.CANCELLED
                else:
                    event = Event.ANSWER
                    content = (code, bytes(body), len(beside))
            else:
                event, content = _packed(value)
        else:
            if self.is_ending and isinstance(value, WorkerLostError) and value.signal:
                return
            self.functions.discard(task_id)
            event = Event.CANCELLED
            if state is TaskState.FAILED:
                event = Event.FAILED
                content = (pickle.dumps(Failure.pack(value)),)
        self._events.append(((int(event), task_id, attempt, moment, *content), beside))


def _packed(value: Any) -> tuple[Event, tuple[Any, ...]]:
    """Return the event of a value that was made in this process."""
    try:
        return Event.RESULT, (dump(value),)
    except BaseException as error:  # whatever the value's own methods raise
        code, body = unsent("result", error)
        return Event.ANSWER, (code, body, 0)
