"""Functions, arguments and results on their way between processes, as pickles.

Large buffers, such as those of arrays, travel beside their pickle: no copy of them is
made until they are sent.
"""

from __future__ import annotations

import io
import pickle
import types
from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import cloudpickle  # type: ignore[import-untyped]

from .._public import public
from .._text import safe_str
from ..errors import SerializationError
from ._buffers import LEAST_APART, PlainPickler, reducers
from ._importing import by_value
from ._reducers import Pickler

__all__ = [
    "ATOMS",
    "Buffer",
    "dump",
    "dump_arguments",
    "dump_function",
    "keep_apart",
    "unsendable",
]

Buffer = bytes | bytearray | memoryview

ATOMS = frozenset({int, float, complex, bool, str, bytes, type(None)})
"""Exact types of values that any pickler can take and any number of tasks may share."""

_MOST_APART = 1000  # buffers beside one pickle or message
_PLAIN_ITEMS = 8  # of a container that `is_plain` looks through
_PLAIN_DEPTH = 3
_PROTOCOL = 5  # the first with buffers apart
_NO_FILE = "<dynamic-code>"


@public("radical.asyncflow.worker")
def dump(value: Any, buffers: list[Buffer] | None = None, *, by_value: bool = False) -> bytes:
    """Return *value* as a pickle, its large buffers appended to *buffers*.

    Args:
        buffers: None keeps them inside the pickle.
        by_value: use cloudpickle at once, because the plain pickler could name
            something that only this process has.

    Raises:
        BaseException: whatever the value's own methods raise; *buffers* is as it was.
    """
    callback = None if buffers is None else partial(_stays_inside, buffers)
    begun = 0 if buffers is None else len(buffers)
    try:
        if not by_value:
            try:
                if not reducers():
                    return pickle.dumps(value, _PROTOCOL, buffer_callback=callback)
                file = io.BytesIO()
                PlainPickler(file, _PROTOCOL, buffer_callback=callback).dump(value)
                return file.getvalue()
            except Exception:  # cloudpickle can do more, and says better what it cannot
                if buffers is not None:
                    del buffers[begun:]
        file = io.BytesIO()
        Pickler(file, protocol=_PROTOCOL, buffer_callback=callback).dump(value)
    except BaseException:
        if buffers is not None:
            del buffers[begun:]
        raise
    return file.getvalue()


@public("radical.asyncflow.worker")
def keep_apart(buffers: list[Buffer]) -> Callable[[pickle.PickleBuffer], bool]:
    """Return the ``buffer_callback`` of a pickler that appends large buffers to *buffers*."""
    return partial(_stays_inside, buffers)


def _stays_inside(buffers: list[Buffer], buffer: pickle.PickleBuffer) -> bool:
    if len(buffers) >= _MOST_APART:
        return True
    view = buffer.raw()
    if view.nbytes < LEAST_APART:
        return True
    buffers.append(view)
    return False


@public("radical.asyncflow.worker")
def dump_arguments(
    function: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    buffers: list[Buffer] | None = None,
) -> bytes:
    """Return the pickle of ``(args, kwargs)``, its large buffers appended to *buffers*.

    Args:
        function: the one that they are for; what is defined beside it travels as it does.
        buffers: None keeps them inside the pickle.

    Raises:
        SerializationError: they cannot be pickled; *buffers* is as it was.
    """
    both = (args, dict(kwargs))
    try:
        if _is_plain(both, _PLAIN_DEPTH):
            return pickle.dumps(both, _PROTOCOL)
        with by_value(function):
            return dump(both, buffers, by_value=True)
    except BaseException as exc:  # whatever the arguments' own methods raise
        raise unsendable("arguments", exc) from exc


def _is_plain(value: Any, depth: int) -> bool:
    """Tell whether the plain pickler can take *value* as it is.

    It can take atoms, and small containers of them up to *depth* within each other.
    """
    kind = type(value)
    if kind in ATOMS:
        return True
    if depth and kind in (tuple, list, dict) and len(value) <= _PLAIN_ITEMS:
        if kind is dict:
            return all(
                _is_plain(key, 0) and _is_plain(item, depth - 1) for key, item in value.items()
            )
        return all(_is_plain(item, depth - 1) for item in value)
    return False


@public("radical.asyncflow.worker")
def dump_function(function: Any) -> bytes:
    """Return the pickle of *function*, by value if a worker could not import it.

    Raises:
        SerializationError: it cannot be pickled.
    """
    try:
        with by_value(function):
            file = io.BytesIO()
            _FunctionPickler(file, protocol=_PROTOCOL).dump(function)
        return file.getvalue()
    except BaseException as exc:  # whatever a captured object's __reduce__ raises
        raise unsendable("function", exc) from exc


@public("radical.asyncflow.worker")
def unsendable(what: str, exc: BaseException) -> SerializationError:
    """Return the error of a task whose *what* could not travel because of *exc*."""
    error = SerializationError(what, safe_str(exc))
    error.__cause__ = exc
    return error


def _reduce_code(code: types.CodeType) -> tuple[Any, tuple[Any, ...]]:
    make, args = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return make, tuple(code.co_filename if item == _NO_FILE else item for item in args)


class _FunctionPickler(Pickler):
    """A pickler that keeps the names of files, so that a worker's traceback shows the line.

    cloudpickle puts another name in their place, so that equal functions give equal
    bytes; nobody here compares them.
    """

    dispatch_table: ClassVar = ChainMap({types.CodeType: _reduce_code}, Pickler.dispatch_table)
