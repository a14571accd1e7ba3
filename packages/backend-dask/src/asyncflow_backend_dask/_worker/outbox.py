"""Events on their way from a worker to the program, by way of the scheduler."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import TimeoutError as ConfirmTimeoutError
from time import monotonic
from typing import Any

from radical.asyncflow.worker import read_clock

from .._messages.events import RUNNING

__all__ = ["EventOutbox"]

_COMPANY_TIMEOUT_S = 0.005  # for events that wait for a message of Dask's to travel with
_CONFIRM_TIMEOUT_S = 5.0  # for the scheduler to confirm that a call begins

_log = logging.getLogger("radical.asyncflow.dask")


class EventOutbox:
    """Collects the events of one worker and sends many of them in one message."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._address: str = worker.address
        self._events: deque[tuple[str, str, tuple[Any, ...]]] = deque()
        self._is_flushing = False

    def put(
        self,
        topic: str,
        key: str,
        kind: int,
        task_id: int,
        attempt: int,
        seconds: float = 0.0,
        data: Any = None,
        moment: float | None = None,
    ) -> None:
        """Add an event about a call in the Dask task *key*, which `flush` or `send` sends.

        Callable in any thread.

        Args:
            moment: when it happened; by default now.
        """
        moment = monotonic() if moment is None else moment
        self._events.append((topic, key, (kind, task_id, attempt, seconds, data, moment)))

    def flush(self) -> None:
        """Send the events along with Dask's own message about the same calls.

        Callable in any thread.
        """
        if not self._is_flushing:
            self._is_flushing = True
            self._worker.loop.add_callback(self._flush)

    def send(self) -> None:
        """Send the events now; call this in the worker's loop."""
        for message in self._messages():
            self._worker.batched_send(message)

    def confirm_running(self, topic: str, key: str, task_id: int, attempt: int) -> None:
        """Tell the scheduler that a call begins, and wait until it knows.

        Never call this in the worker's loop.
        """
        clock = read_clock()
        event = RUNNING, task_id, attempt, 0.0, None, clock[1]
        message = {"worker": self._address, "events": {key: [event]}, "clock": clock}

        async def tell() -> None:
            await self._worker.scheduler.log_event(topic=topic, msg=message)

        try:
            loop = self._worker.loop.asyncio_loop
            asyncio.run_coroutine_threadsafe(tell(), loop).result(_CONFIRM_TIMEOUT_S)
        except (OSError, RuntimeError, ConfirmTimeoutError) as exc:
            _log.warning("could not tell the scheduler that a task begins: %s", exc)

    def _flush(self) -> None:
        # Dask's own message follows at once.  If ours went out now, Dask's would have to wait
        # for the next batch, so ours goes into the buffer that Dask's will go into.
        self._is_flushing = False
        stream = self._worker.batched_stream
        for message in self._messages():
            if stream is not None and stream.next_deadline is None:
                stream.buffer.append(message)
            else:
                self._worker.batched_send(message)
        self._worker.loop.call_later(_COMPANY_TIMEOUT_S, self._wake_stream)

    def _wake_stream(self) -> None:
        stream = self._worker.batched_stream
        if stream is not None and stream.buffer:
            stream.waker.set()

    def _messages(self) -> Iterator[dict[str, Any]]:
        by_topic: dict[str, dict[str, list[tuple[Any, ...]]]] = {}
        while self._events:
            topic, key, event = self._events.popleft()
            by_topic.setdefault(topic, {}).setdefault(key, []).append(event)
        for topic, events in by_topic.items():
            message = {"worker": self._address, "events": events, "clock": read_clock()}
            yield {"op": "log-event", "topic": topic, "msg": message}
