"""What runs on a Dask worker: `run`, and the messages that reach a running call."""

from __future__ import annotations

import asyncio
import logging
import pickle
import tempfile
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import TimeoutError as LateError
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from dask.sizeof import sizeof
from distributed import get_worker
from distributed.comm import get_address_host
from radical.asyncflow.backend import ExecutableResult
from radical.asyncflow.errors import SerializationError
from radical.asyncflow.worker import Execution, Failure, TaskContext, call, close_loop, guard

from ._book import Book
from ._wire import (
    CANCELLED,
    FAILED,
    INLINE,
    KEPT,
    RETURNED,
    RUNNING,
    SKIPPED,
    UNSENT,
    Call,
    Kept,
    Order,
    Parcel,
    Slot,
    dump,
    load,
    reason_of,
)

__all__ = ["cancel", "forget_events", "greet", "run"]

_TICK = 0.025  # seconds that a call runs before it is worth telling
_INLINE = 4096  # bytes of a pickled value that go with the event
_OUTPUT = 64 * 1024  # the same for the output of a command, which is wanted anyway
_WEIGH = 64 * 1024  # bytes in memory above which nobody tries to pickle a value
_ENCLOSED = 0.005  # seconds after which an event goes without company
_CONFIRM = 5.0  # seconds to wait for the scheduler to know that a call begins
_FUNCTIONS = 256  # how many a worker remembers
_GONE = 10_000  # how many cancelled calls it remembers
_ATOMS = frozenset({int, float, bool, type(None)})

_log = logging.getLogger("radical.asyncflow.dask")

_Id = tuple[str, int, int]
"""Topic, task and attempt."""


class _Pack:
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

    def __init__(self, key: str, cancel: Callable[[], object], pack: _Pack, told: bool) -> None:
        self.begun = time.monotonic()
        self.key = key
        self.cancel = cancel
        self.pack = pack
        self.told = told


class Registry:
    """What runs on one worker, and the news of it on their way to the client."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.address: str = worker.address
        self.proven: set[tuple[str, int]] = set()
        # In this program's own threads nothing dies alone.
        self.mortal = not self.address.startswith("inproc://")
        here = get_address_host(self.address) == get_address_host(worker.scheduler.address)
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
        self, todo: Order, one: Call, stop: Callable[[], object], pack: _Pack, confirm: bool
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


def _registry(worker: Any) -> Registry:
    registry = _registries.get(worker)
    if registry is None:
        with _making:
            registry = _registries.setdefault(worker, Registry(worker))
    return registry


def run(order: bytes, parcel: Parcel | None, *dependencies: Any) -> Any:
    """The body of every Dask task; what comes of each call is told by events."""
    registry = _registry(get_worker())
    todo: Order = pickle.loads(order)
    if todo.options is not None:
        if todo.struck:
            return Kept(failed=True)
        kept = _execute(registry, todo, todo.calls[0], todo.options)
        registry.flush()
        return kept
    single = len(todo.calls) == 1
    function: Any = None
    broken: str | None = None
    try:
        function = registry.function(todo.topic, todo.code, todo.function or dependencies[-1])
    except BaseException as exc:  # unpickling runs foreign code
        broken = reason_of(exc)
    results: dict[int, Kept] = {}
    for place in todo.struck:
        results[todo.calls[place].task_id] = Kept(failed=True)
    pack = _Pack(one for one in todo.calls if one.task_id not in results)
    buffers = parcel.buffers if parcel is not None else ()
    while (one := pack.take()) is not None:
        if broken is not None:
            registry.tell(todo.topic, UNSENT, one, 0.0, ("function", broken))
            results[one.task_id] = Kept(failed=True)
        else:
            results[one.task_id] = _call(registry, todo, one, function, buffers, dependencies, pack)
    registry.flush()
    # A call that was given back has no result here, and its own Dask task elsewhere.
    kept_all = [results.get(one.task_id) for one in todo.calls]
    return kept_all[0] if single else kept_all


def _call(
    registry: Registry,
    todo: Order,
    one: Call,
    function: Any,
    buffers: Sequence[Any],
    dependencies: Sequence[Any],
    pack: _Pack,
) -> Kept:
    tell = partial(registry.tell, todo.topic)
    if (todo.topic, one.task_id, one.attempt) in registry.gone:
        tell(CANCELLED, one, 0.0)
        return Kept(failed=True)
    try:
        failed = _failed(one, dependencies)
    except LookupError:
        tell(RETURNED, one, 0.0, todo.key)
        return Kept(failed=True)
    if failed:
        tell(SKIPPED, one, 0.0, failed)
        return Kept(failed=True)
    try:
        args, kwargs = load(one.payload, buffers, partial(_value_of, dependencies))
    except SerializationError as exc:
        tell(UNSENT, one, 0.0, ("arguments", exc.args[0].partition(": ")[2]))
        return Kept(failed=True)
    context = TaskContext(one.name, one.task_id, one.attempt)
    key = registry.begin(todo, one, context.cancel, pack, todo.careful)
    if key in registry.gone:
        context.cancel()
    begun = time.perf_counter()
    try:
        with context:
            value = call(function, args, kwargs)
    except BaseException as exc:  # SystemExit must not end Dask's thread
        seconds = time.perf_counter() - begun
        registry.end(key)
        if context.cancelled:
            tell(CANCELLED, one, seconds)
        else:
            failure = Failure.pack(exc)
            fields = (failure.type_name, failure.message, failure.traceback, failure.pickled)
            tell(FAILED, one, seconds, fields)
        return Kept(failed=True)
    finally:
        if registry.worker.nanny is None:
            close_loop()  # the thread is in somebody's program, and ends without a word
    seconds = time.perf_counter() - begun
    registry.end(key)
    registry.proven.add((todo.topic, todo.code))
    try:
        inline = _inline(value, _INLINE)
    except BaseException as exc:  # whatever the value's own methods raise
        tell(UNSENT, one, seconds, ("result", reason_of(exc)))
        return Kept(failed=True)
    tell(KEPT if inline is None else INLINE, one, seconds, inline)
    return Kept(value)


def _failed(one: Call, dependencies: Sequence[Any]) -> list[int]:
    """Ids of those among its dependencies that have no value.

    Raises:
        LookupError: one was given back, and is computed elsewhere.
    """
    failed = []
    for (task_id, index), item in zip(one.dependencies, dependencies, strict=False):
        kept = item[index] if isinstance(item, list) else item
        if kept is None:
            raise LookupError(task_id)
        if kept.failed:
            failed.append(task_id)
    return failed


def _value_of(dependencies: Sequence[Any], slot: Slot) -> Any:
    if slot.place < 0:
        return load(slot.inline)
    kept = dependencies[slot.place]
    if isinstance(kept, list):
        kept = kept[slot.nth]
    return kept.get()


def _inline(value: Any, limit: int) -> bytes | None:
    """*value* as a small pickle; None if it is not small."""
    if type(value) in _ATOMS:
        return pickle.dumps(value, 5)
    if sizeof(value) > _WEIGH + limit:
        return None
    buffers: list[Any] = []
    head = dump(value, buffers)
    return None if buffers or len(head) > limit else head


def _execute(registry: Registry, todo: Order, one: Call, options: dict[str, Any]) -> Kept:
    """Run a command; *options* are ``capture_stdio``, ``grace`` and ``folder``."""
    tell = partial(registry.tell, todo.topic)
    if (todo.topic, one.task_id, one.attempt) in registry.gone:
        tell(CANCELLED, one, 0.0)
        return Kept(failed=True)
    registry.keep_guard()
    folder = options["folder"]

    def work_dir() -> Path:
        path = Path(folder or Path(tempfile.gettempdir()) / f"asyncflow-{todo.topic}")
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    execution = Execution(
        pickle.loads(one.payload),
        name=one.name,
        work_dir=work_dir,
        capture_stdio=options["capture_stdio"],
        grace=options["grace"],
    )
    # Told before it begins: who cancels it wants to hear of its end.
    key = registry.begin(todo, one, execution.cancel, _Pack(()), True)
    if key in registry.gone:
        execution.cancel()
    begun = time.perf_counter()
    try:
        result: ExecutableResult = execution.run()
    except BaseException as exc:
        failure = Failure.pack(exc)
        fields = (failure.type_name, failure.message, failure.traceback, failure.pickled)
        tell(FAILED, one, time.perf_counter() - begun, fields)
        return Kept(failed=True)
    finally:
        registry.end(key)
    seconds = time.perf_counter() - begun
    if execution.cancelled:
        tell(CANCELLED, one, seconds)
        return Kept(failed=True)
    inline = _inline(result, _OUTPUT)
    tell(KEPT if inline is None else INLINE, one, seconds, inline)
    return Kept(result)


# Messages, each run in the worker's loop by ``Client.run``.


def cancel(
    topic: str, attempts: list[tuple[int, int]], dask_worker: Any
) -> list[tuple[int, int]]:
    """Stop these calls, also those that have not arrived yet; those that run here."""
    return _registry(dask_worker).stop(topic, attempts)


def forget_events(topic: str, dask_scheduler: Any) -> None:
    """On the scheduler: drop the events that were told already."""
    dask_scheduler._broker.truncate(topic)


def greet(dask_worker: Any) -> int:
    """How many calls run at once; shows that this package is installed here."""
    _registry(dask_worker)
    return int(dask_worker.state.nthreads)
