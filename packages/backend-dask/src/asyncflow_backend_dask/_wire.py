"""What client and workers say to each other; both sides import this module.

A Dask task of ours is ``run(order, buffers, *dependencies)`` (in `_remote`).  An order is
pickled to plain bytes, so that a scheduler moves it without looking inside; large
buffers of the arguments travel apart from it, and are not copied on the way.  What
became of each call is told by an event on the run's topic, small values included; the
values themselves stay on the worker as `Kept`.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cloudpickle  # type: ignore[import-untyped]
from radical.asyncflow.errors import SerializationError

__all__ = [
    "CANCELLED",
    "CONDEMNED",
    "DIED",
    "ENDINGS",
    "FAILED",
    "INLINE",
    "KEPT",
    "LOOSENED",
    "RETURNED",
    "RUNNING",
    "SAME_TASK",
    "SKIPPED",
    "UNSENT",
    "Call",
    "Kept",
    "Order",
    "Parcel",
    "Slot",
    "dump",
    "dump_with_slots",
    "load",
    "reason_of",
    "try_to_dump",
    "unsendable",
]

RUNNING, INLINE, KEPT, FAILED, UNSENT, SKIPPED, CANCELLED, RETURNED = range(8)
"""Kinds of events.  An event is ``(kind, task id, attempt, seconds, data)``; the data of

INLINE is the pickled value, of FAILED the fields of a `Failure`, of UNSENT those of a
`SerializationError`, of SKIPPED the ids of the failed dependencies.  RETURNED gives back
a call that has not begun, because another that shares its Dask task, or is behind it, takes
long; its data is the key.
"""

SAME_TASK = -2

ENDINGS = frozenset({INLINE, KEPT, FAILED, UNSENT, SKIPPED, CANCELLED})

DIED, CONDEMNED, LOOSENED = "died", "condemned", "loosened"
"""Keys of what else is said on a topic: by the scheduler of a worker that is gone (see

`_deaths`); by the client of ``(task id, attempt)`` that must not run again when the
``worker`` is gone on which they run, and which is to be restarted; and by the client of
those that are to be given back if their Dask task still waits, by the key of that.
"""

_APART = 16 * 1024  # bytes; a smaller buffer stays inside of its pickle


_SURE = frozenset({bytes, bytearray, str})
_ARRAY = "numpy", "ndarray"
_NUMBERS = "biufcmMSU"  # kinds of NumPy's dtypes that hold no objects


class Call(NamedTuple):
    """One attempt at one task.

    Attributes:
        payload: its pickled arguments, or its command.
        dependencies: the id of each, which dependency of the Dask task holds its result,
            and which of the calls packed there it is.
        lives: how many deaths of workers under it are no failure yet.
        after: the call of the same Dask task, by its id, whose result it takes; 0 for none.
        buffers: which of the parcel is the first of its own.
    """

    task_id: int
    attempt: int
    name: str
    payload: bytes
    dependencies: tuple[tuple[int, int, int], ...] = ()
    lives: int = 0
    after: int = 0
    buffers: int = 0


class Order(NamedTuple):
    """What a Dask task is to do.

    Attributes:
        topic: where its events go.
        key: of the Dask task.
        code: what the function is known by on the workers; 0 for a command.
        function: the pickled function; None if it is the last dependency.
        careful: tell that a call begins before it does, as its worker may die of it.
        gpus: how many GPUs of its worker each call is to see.
        struck: places of calls that must not run (any more).
        returned: places of calls that were given back, and run as another Dask task.
        options: of a command: see `_remote`.
    """

    topic: str
    key: str
    code: int
    function: bytes | None
    calls: tuple[Call, ...]
    careful: bool = False
    gpus: int = 0
    struck: tuple[int, ...] = ()
    returned: tuple[int, ...] = ()
    options: dict[str, Any] | None = None


class Slot(NamedTuple):
    """Stands in pickled arguments for the result of another task.

    Attributes:
        place: which dependency of the Dask task holds it; -1 if *inline* does; `SAME_TASK`
            if it is the result of another call there.
        nth: which of the calls packed there it is; the id of that other call.
        inline: the pickled value itself.
    """

    place: int
    nth: int = 0
    inline: bytes = b""


class Parcel:
    """Large buffers, which pickle out of band."""

    __slots__ = ("buffers",)

    def __init__(self, buffers: Sequence[Any]) -> None:
        self.buffers = buffers

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Parcel, ([pickle.PickleBuffer(item) for item in self.buffers],)

    def __sizeof__(self) -> int:
        return 64 + sum(memoryview(item).nbytes for item in self.buffers)


class Kept:
    """What came of a call, as Dask holds it: a value, or nothing because it failed.

    It pickles its value by itself and rebuilds it when somebody asks, so that a value
    which cannot travel is the failure of one task and not of a whole message.
    """

    __slots__ = ("_error", "_packed", "_value", "failed")

    def __init__(self, value: Any = None, *, failed: bool = False) -> None:
        self._value = value
        self._packed: tuple[bytes, Sequence[Any]] | None = None
        self._error: str | None = None
        self.failed = failed

    def get(self) -> Any:
        """The value.

        Raises:
            SerializationError: it could not be pickled where it was made, or not rebuilt here.
        """
        if self._error is not None:
            raise SerializationError("result", self._error)
        if self._packed is not None:
            self._value = load(*self._packed)
            self._packed = None
        return self._value

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if self.failed or self._error is not None:
            return _kept, (None, (), self._error, self.failed)
        if self._packed is not None:
            head, buffers = self._packed
        else:
            buffers = []
            try:
                head = dump(self._value, buffers)
            except BaseException as exc:  # whatever the value's own methods raise
                return _kept, (None, (), reason_of(exc), self.failed)
        return _kept, (head, [pickle.PickleBuffer(item) for item in buffers], None, False)

    def __sizeof__(self) -> int:
        from dask.sizeof import sizeof

        if self._packed is not None:
            head, buffers = self._packed
            return len(head) + sum(memoryview(item).nbytes for item in buffers)
        return int(sizeof(self._value)) + 64


def _kept(head: bytes | None, buffers: Sequence[Any], error: str | None, failed: bool) -> Kept:
    kept = Kept(failed=failed)
    kept._error = error
    kept._packed = None if head is None else (head, buffers)
    return kept


def dump(value: Any, buffers: list[Any]) -> bytes:
    """*value* as a pickle, its large buffers appended to *buffers*.

    Raises:
        BaseException: whatever the value's own methods raise.
    """

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _APART:
            return True
        buffers.append(view)
        return False

    begun = len(buffers)
    try:
        return pickle.dumps(value, 5, buffer_callback=keep_inside)
    except Exception:  # cloudpickle can do more, and says better what it cannot
        del buffers[begun:]
    pickled: bytes = cloudpickle.dumps(value, protocol=5, buffer_callback=keep_inside)
    return pickled


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


def try_to_dump(value: Any) -> None:
    """See that `dump` can pack a large *value*, without packing it.

    Raises:
        BaseException: whatever the value's own methods raise.
    """
    kind = type(value)
    if kind in _SURE:
        return
    if (kind.__module__, kind.__name__) == _ARRAY and value.dtype.kind in _NUMBERS:
        return
    try:
        pickle.Pickler(_Nowhere(), 5, buffer_callback=_leave_out).dump(value)
    except Exception:  # cloudpickle can do more, and says better what it cannot
        cloudpickle.Pickler(_Nowhere(), 5, buffer_callback=_leave_out).dump(value)


def _leave_out(buffer: pickle.PickleBuffer) -> None:
    """It is a buffer: it can travel."""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: Any, callback: Any, slot_of: Callable[[Any], Slot | None]) -> None:
        super().__init__(file, 5, buffer_callback=callback)
        self._slot_of = slot_of

    def persistent_id(self, item: Any) -> Any:
        return self._slot_of(item)


def dump_with_slots(
    value: Any, buffers: list[Any], slot_of: Callable[[Any], Slot | None] | None
) -> bytes:
    """As `dump`, by cloudpickle; whatever *slot_of* has a slot for is replaced by that.

    Raises:
        BaseException: whatever the value's own methods raise.
    """

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _APART:
            return True
        buffers.append(view)
        return False

    if slot_of is None:
        pickled: bytes = cloudpickle.dumps(value, protocol=5, buffer_callback=keep_inside)
        return pickled
    with io.BytesIO() as file:
        _Pickler(file, keep_inside, slot_of).dump(value)
        return file.getvalue()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, buffers: Any, value_of: Callable[[Slot], Any]) -> None:
        super().__init__(file, buffers=buffers)
        self._value_of = value_of

    def persistent_load(self, slot: Any) -> Any:
        return self._value_of(slot)


def load(
    head: bytes, buffers: Sequence[Any] = (), value_of: Callable[[Slot], Any] | None = None
) -> Any:
    """What `dump` or `dump_with_slots` packed.

    Raises:
        SerializationError: it cannot be rebuilt here.
    """
    try:
        if value_of is None:
            return pickle.loads(head, buffers=map(_writable, buffers))
        return _Unpickler(io.BytesIO(head), map(_writable, buffers), value_of).load()
    except SerializationError:
        raise
    except BaseException as exc:  # unpickling runs foreign code, which may even exit
        raise unsendable("result" if value_of is None else "arguments", exc) from exc


def _writable(buffer: Any) -> Any:
    """*buffer*, or a copy of it that may be changed, as the arrays in it would be at home."""
    return bytearray(buffer) if memoryview(buffer).readonly else buffer


def unsendable(what: str, exc: BaseException) -> SerializationError:
    """The error for a *what* that *exc* kept from travelling."""
    error = SerializationError(what, reason_of(exc))
    error.__cause__ = exc
    return error


def reason_of(exc: BaseException) -> str:
    """Type and text of *exc*, whatever its methods do."""
    try:
        return f"{type(exc).__name__}: {exc}"
    except BaseException:  # foreign code
        return f"{type(exc).__name__}: (its text cannot be read)"
