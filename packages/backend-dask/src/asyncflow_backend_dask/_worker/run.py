"""What runs on a Dask worker: `run`, and the messages that reach a running call."""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dask.sizeof import sizeof
from distributed import get_worker
from radical.asyncflow.backend import ExecutableResult
from radical.asyncflow.errors import SerializationError
from radical.asyncflow.worker import Execution, Failure, TaskContext, call, close_loop

from .._wire import (
    CANCELLED,
    FAILED,
    INLINE,
    KEPT,
    RETURNED,
    SAME_TASK,
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
    try_to_dump,
)
from .running import Pack, Registry, registry_of

__all__ = ["cancel", "forget_events", "greet", "run"]

_INLINE = 4096  # bytes of a pickled value that go with the event
_OUTPUT = 64 * 1024  # the same for the output of a command, which is wanted anyway
_WEIGH = 64 * 1024  # bytes in memory above which a value does not go with the event
_ATOMS = frozenset({int, float, bool, type(None)})


def run(order: bytes, parcel: Parcel | None, *dependencies: Any) -> Any:
    """The body of every Dask task; what comes of each call is told by events."""
    registry = registry_of(get_worker())
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
    out = {*todo.struck, *todo.returned}
    pack = Pack(one for place, one in enumerate(todo.calls) if place not in out)
    buffers = parcel.buffers if parcel is not None else ()
    while (one := pack.take()) is not None:
        if broken is not None:
            registry.tell(todo.topic, UNSENT, one, 0.0, ("function", broken))
            results[one.task_id] = Kept(failed=True)
        else:
            sources = buffers, dependencies, results
            came = _call(registry, todo, one, function, sources, pack)
            if came is not None:
                results[one.task_id] = came
    registry.flush()
    # A call that was given back has no result here, and its own Dask task elsewhere.
    kept_all = [results.get(one.task_id) for one in todo.calls]
    return kept_all[0] if single else kept_all


def _call(
    registry: Registry,
    todo: Order,
    one: Call,
    function: Any,
    sources: tuple[Sequence[Any], Sequence[Any], dict[int, Kept]],
    pack: Pack,
) -> Kept | None:
    """What came of it; None if it was given back.

    *sources* are the buffers, the dependencies and the earlier results of the Dask task.
    """
    buffers, dependencies, results = sources
    tell = partial(registry.tell, todo.topic)
    if (todo.topic, one.task_id, one.attempt) in registry.gone:
        tell(CANCELLED, one, 0.0)
        return Kept(failed=True)
    try:
        failed = _failed(one, dependencies, results)
    except LookupError:
        tell(RETURNED, one, 0.0, todo.key)
        return None
    if failed:
        tell(SKIPPED, one, 0.0, failed)
        return Kept(failed=True)
    try:
        own = buffers[one.buffers :]
        args, kwargs = load(one.payload, own, partial(_value_of, dependencies, results))
    except SerializationError as exc:
        tell(UNSENT, one, 0.0, ("arguments", exc.args[0].partition(": ")[2]))
        return Kept(failed=True)
    context = TaskContext(one.name, one.task_id, one.attempt)
    key = registry.begin(todo, one, context.cancel, pack, todo.careful)
    if key in registry.gone:
        context.cancel()
    begun = time.perf_counter()
    try:
        with registry.gpus.take(todo.gpus) as context.gpus, context:
            value = call(function, args, kwargs)
    except BaseException as exc:  # SystemExit must not end Dask's thread
        seconds = time.perf_counter() - begun
        registry.end(key)
        if context.cancelled:
            tell(CANCELLED, one, seconds)
        else:
            tell(FAILED, one, seconds, _fields(exc))
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


def _fields(exc: BaseException) -> tuple[Any, ...]:
    failure = Failure.pack(exc)
    return failure.type_name, failure.message, failure.traceback, failure.pickled


def _failed(one: Call, dependencies: Sequence[Any], results: dict[int, Kept]) -> list[int]:
    """Ids of those among its dependencies that have no value.

    Raises:
        LookupError: one was given back, and is computed elsewhere.
    """
    if one.after:
        return [one.after] if results[one.after].failed else []
    failed = []
    for task_id, place, index in one.dependencies:
        item = dependencies[place]
        kept = item[index] if isinstance(item, list) else item
        if kept is None:
            raise LookupError(task_id)
        if kept.failed:
            failed.append(task_id)
    return failed


def _value_of(dependencies: Sequence[Any], results: dict[int, Kept], slot: Slot) -> Any:
    if slot.place == SAME_TASK:
        return results[slot.nth].get()
    if slot.place < 0:
        return load(slot.inline)
    kept = dependencies[slot.place]
    if isinstance(kept, list):
        kept = kept[slot.nth]
    return kept.get()


def _inline(value: Any, limit: int) -> bytes | None:
    """*value* as a small pickle; None if it is not small.

    Raises:
        BaseException: it cannot be pickled.
    """
    if type(value) in _ATOMS:
        return pickle.dumps(value, 5)
    if sizeof(value) > _WEIGH + limit:
        try_to_dump(value)
        return None
    buffers: list[Any] = []
    head = dump(value, buffers)
    return None if buffers or len(head) > limit else head


def _execute(registry: Registry, todo: Order, one: Call, options: dict[str, Any]) -> Kept:
    """Run a command; *options* are ``capture_stdio``, ``grace`` and ``folder``."""
    try:
        with registry.gpus.take(todo.gpus) as gpus:
            return _execute_on(gpus, registry, todo, one, options)
    except RuntimeError as exc:
        registry.tell(todo.topic, FAILED, one, 0.0, _fields(exc))
        return Kept(failed=True)


def _execute_on(
    gpus: tuple[int, ...],
    registry: Registry,
    todo: Order,
    one: Call,
    options: dict[str, Any],
) -> Kept:
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
        gpus=gpus,
    )
    # Told before it begins: who cancels it wants to hear of its end.
    key = registry.begin(todo, one, execution.cancel, Pack(()), True)
    if key in registry.gone:
        execution.cancel()
    begun = time.perf_counter()
    try:
        result: ExecutableResult = execution.run()
    except BaseException as exc:
        tell(FAILED, one, time.perf_counter() - begun, _fields(exc))
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


def cancel(topic: str, attempts: list[tuple[int, int]], dask_worker: Any) -> list[tuple[int, int]]:
    """Stop these calls, also those that have not arrived yet; those that run here."""
    return registry_of(dask_worker).stop(topic, attempts)


def forget_events(topic: str, dask_scheduler: Any) -> None:
    """On the scheduler: drop the events that were told already."""
    dask_scheduler._broker.truncate(topic)


def greet(dask_worker: Any) -> int:
    """How many calls run at once; shows that this package is installed here."""
    registry_of(dask_worker)
    return int(dask_worker.state.nthreads)
