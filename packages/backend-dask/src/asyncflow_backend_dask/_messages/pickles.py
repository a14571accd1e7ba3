"""Pickles: what this backend needs beside `dump` and its relatives in the core."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from radical.asyncflow.errors import SerializationError
from radical.asyncflow.worker import Buffer, Pickler, PlainPickler, keep_apart, unsendable

from .orders import Placeholder

__all__ = ["check_dumpable", "dump_with_placeholders", "load"]

_ALWAYS_DUMPABLE = frozenset({bytes, bytearray, str})
_NUMPY_ARRAY = "numpy", "ndarray"
_NUMPY_PLAIN_KINDS = "biufcmMSU"  # kinds of dtypes that hold no Python objects


def dump_with_placeholders(
    value: Any, buffers: list[Buffer], placeholder_of: Callable[[Any], Placeholder | None]
) -> bytes:
    """Return *value* as a pickle with placeholders in it; its large buffers go to *buffers*.

    An object for which *placeholder_of* returns a placeholder is replaced by that.

    Raises:
        BaseException: whatever the value's own methods raise.
    """
    with io.BytesIO() as file:
        _Pickler(file, keep_apart(buffers), placeholder_of).dump(value)
        return file.getvalue()


def check_dumpable(value: Any) -> None:
    """Make sure that a large *value* can be pickled, without keeping the pickle.

    Raises:
        BaseException: whatever the value's own methods raise.
    """
    kind = type(value)
    if kind in _ALWAYS_DUMPABLE:
        return
    if (kind.__module__, kind.__name__) == _NUMPY_ARRAY and value.dtype.kind in _NUMPY_PLAIN_KINDS:
        return
    try:
        PlainPickler(_NullFile(), 5, buffer_callback=_leave_out).dump(value)
    except Exception:  # cloudpickle can do more, and has the better error message
        Pickler(_NullFile(), 5, buffer_callback=_leave_out).dump(value)


def load(
    head: bytes, buffers: Sequence[Any] = (), value_of: Callable[[Placeholder], Any] | None = None
) -> Any:
    """Rebuild the value in the pickle *head*, to which *buffers* belong.

    *value_of* returns the value for a placeholder.

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


class _NullFile:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


def _leave_out(buffer: pickle.PickleBuffer) -> None:
    """Leave *buffer* out of the pickle: a buffer can always travel."""


class _Pickler(Pickler):
    def __init__(
        self, file: Any, callback: Any, placeholder_of: Callable[[Any], Placeholder | None]
    ) -> None:
        super().__init__(file, 5, buffer_callback=callback)
        self._placeholder_of = placeholder_of

    def persistent_id(self, item: Any) -> Any:
        return self._placeholder_of(item)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, buffers: Any, value_of: Callable[[Placeholder], Any]) -> None:
        super().__init__(file, buffers=buffers)
        self._value_of = value_of

    def persistent_load(self, placeholder: Any) -> Any:
        return self._value_of(placeholder)


def _writable(buffer: Any) -> Any:
    """Return *buffer*, or a copy of it that may be changed as the original could."""
    return bytearray(buffer) if memoryview(buffer).readonly else buffer
