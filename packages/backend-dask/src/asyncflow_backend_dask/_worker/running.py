"""What runs on one worker, and the news of it on their way to the client."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as LateError
from typing import Any
from weakref import WeakKeyDictionary

from distributed.comm import get_address_host
from radical.asyncflow.worker import guard

from .._wire import RETURNED, RUNNING, Call, Kept, Order
from .book import Book
from .gpus import HOSTED, Gpus
from .noise import be_quiet_at_the_end

__all__ = ["Pack", "Registry", "registry_of"]

_TICK = 0.025  # seconds that a call runs before it is worth telling
_ENCLOSED = 0.005  # seconds after which an event goes without company
_CONFIRM = 5.0  # seconds to wait for the scheduler to know that a call begins
_FUNCTIONS = 256  # how many a worker remembers
_GONE = 10_000  # how many cancelled calls it remembers

_log = logging.getLogger("radical.asyncflow.dask")

_Id = tuple[str, int, int]
"""Topic, task and attempt."""


class Pack:
    """The calls of one Dask task, of which those not yet begun may be taken back."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._left = deque(calls)
        self._lock = threading.Lock()

    def take(self) -> Call | None:
        with self._lock:
            return self._left.popleft() if self._left else None

    def take_rest(self) -> list[Call]:
        with self._lock:
            rest = list(self._left)
            self._left.clear()
            return rest


class _Running:
    """One call that runs."""

    __slots__ = ("begun", "cancel", "key", "pack", "told")

    def __init__(self, key: str, cancel: Callable[[], object], pack: Pack, told: bool) -> None:
        self.begun = time.monotonic()
        self.key = key
        self.cancel = cancel
        self.pack = pack
        self.told = told


class Registry:
    """What runs on one worker.

    Attributes:
        mortal: the worker is a process that can die without the program.
        proven: functions, as topic and code, that have come to an end here.
        gone: calls that were cancelled.
    """

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.address: str = worker.address
        self.proven: set[tuple[str, int]] = set()
        # In this program's own threads nothing dies alone.
        self.mortal = not self.address.startswith("inproc://")
        here = get_address_host(self.address) == get_address_host(worker.scheduler.address)
        if worker.nanny is not None and HOSTED in os.environ:
            be_quiet_at_the_end()
        self.gpus = Gpus(worker)
        self._book = Book(worker.local_directory) if self.mortal and here else None
        self.gone: OrderedDict[_Id, None] = OrderedDict()
        self._functions: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._running: dict[_Id, _Running] = {}
        self._outbox: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._waking = False
        self._ticking = False
        self._guarded = False

    def function(self, topic: str, code: int, pickled: Any) -> Any:
        """The function that the client calls *code*."""
        key = topic, code
        try:
            function = self._functions[key]
        except KeyError:
            if isinstance(pickled, Kept):
                pickled = pickled.get()
            function = pickle.loads(pickled)
            self._functions[key] = function
            if len(self._functions) > _FUNCTIONS:
                self._functions.popitem(last=False)
        return function

    def begin(
        self, todo: Order, one: Call, stop: Callable[[], object], pack: Pack, confirm: bool
    ) -> _Id:
        """*one* begins, which is in the book, or told to the scheduler, when this returns.

        Unless its function has come to an end before: then it is told soon.
        """
        topic = todo.topic
        key = topic, one.task_id, one.attempt
        booked = self._book is not None and self._book.begin(*key)
        if not booked and self.mortal and (topic, todo.code) not in self.proven:
            confirm = True
        self._running[key] = _Running(todo.key, stop, pack, confirm)
        if confirm:
            self._confirm(topic, (RUNNING, one.task_id, one.attempt, 0.0, None))
        elif not self._ticking:
            self._ticking = True
            self._in_loop(self._tick_later)
        return key

    def end(self, key: _Id) -> None:
        self._running.pop(key, None)

    def tell(self, topic: str, kind: int, one: Call, seconds: float, data: Any = None) -> None:
        """Put an event into the outbox; `flush` sends it."""
        self._outbox.append((topic, (kind, one.task_id, one.attempt, seconds, data)))

    def flush(self) -> None:
        """Send what is in the outbox, along with what Dask itself says of the same calls."""
        if not self._waking:
            self._waking = True
            self._in_loop(self._enclose)

    def stop(self, topic: str, attempts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Cancel these calls, whether they run, wait or are still to come; those that run."""
        stopped = []
        for task_id, attempt in attempts:
            key = topic, task_id, attempt
            self.gone[key] = None
            running = self._running.get(key)
            if running is not None:
                running.cancel()
                stopped.append((task_id, attempt))
        while len(self.gone) > _GONE:
            self.gone.popitem(last=False)
        return stopped

    def keep_guard(self) -> None:
        """From the first command on the guard stays up, as starting it costs 30 ms."""
        if not self._guarded:
            self._guarded = True
            if self.worker.nanny is not None:
                guard().acquire()

    def _in_loop(self, function: Callable[[], None]) -> None:
        self.worker.loop.add_callback(function)

    def _enclose(self) -> None:
        # A message that goes out now would make Dask's own, which follows at once, wait
        # for the next batch: it is put where that one will be.
        self._waking = False
        stream = self.worker.batched_stream
        for message in self._messages():
            if stream is not None and stream.next_deadline is None:
                stream.buffer.append(message)
            else:
                self.worker.batched_send(message)
        self.worker.loop.call_later(_ENCLOSED, self._wake)

    def _wake(self) -> None:
        stream = self.worker.batched_stream
        if stream is not None and stream.buffer:
            stream.waker.set()

    def _send(self) -> None:
        for message in self._messages():
            self.worker.batched_send(message)

    def _messages(self) -> Iterator[dict[str, Any]]:
        by_topic: dict[str, list[tuple[Any, ...]]] = {}
        while self._outbox:
            topic, event = self._outbox.popleft()
            by_topic.setdefault(topic, []).append(event)
        for topic, events in by_topic.items():
            message = {"worker": self.address, "events": events}
            yield {"op": "log-event", "topic": topic, "msg": message}

    def _confirm(self, topic: str, event: tuple[Any, ...]) -> None:
        """Do not go on before the scheduler knows."""
        message = {"worker": self.address, "events": [event]}

        async def tell() -> None:
            await self.worker.scheduler.log_event(topic=topic, msg=message)

        try:
            loop = self.worker.loop.asyncio_loop
            asyncio.run_coroutine_threadsafe(tell(), loop).result(_CONFIRM)
        except (OSError, RuntimeError, LateError) as exc:
            _log.warning("could not tell the scheduler that a task begins: %s", exc)

    def _tick_later(self) -> None:
        self.worker.loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        """Tell of calls that run for a while, and give back what waits behind them."""
        deadline = time.monotonic() - _TICK
        waiting = False
        for (topic, task_id, attempt), running in list(self._running.items()):
            if running.begun > deadline:
                waiting = True
                continue
            if not running.told:
                running.told = True
                event = (RUNNING, task_id, attempt, 0.0, None)
                self._outbox.append((topic, event))
            for one in running.pack.take_rest():
                self.tell(topic, RETURNED, one, 0.0, running.key)
        self._send()
        # In this order, so that a call which begins just now is seen here or begins a tick.
        self._ticking = False
        if waiting or any(not item.told for item in list(self._running.values())):
            self._ticking = True
            self._tick_later()


_registries: WeakKeyDictionary[Any, Registry] = WeakKeyDictionary()
_making = threading.Lock()


def registry_of(worker: Any) -> Registry:
    registry = _registries.get(worker)
    if registry is None:
        with _making:
            registry = _registries.setdefault(worker, Registry(worker))
    return registry
