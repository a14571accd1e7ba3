"""The arguments of a call as text: in short for tasks that failed, or as Python writes them."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import inspect
import itertools
import pathlib
import reprlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .._text import MASK, looks_secret, mask_secrets, shorten, task_id_text

if TYPE_CHECKING:
    from .._task.future import TaskFuture

__all__ = ["arguments_text", "short_arguments"]

TEXT_CHARS = 4000
"""Characters of the arguments as Python writes them."""

SHORT_CHARS = 200
"""Characters of the short text of all arguments of a task."""

VALUE_CHARS = 60
"""Characters of the short text of one argument."""

MAX_ITEMS = 4
"""The most items of a container that the short text shows."""

MAX_DEPTH = 2
"""The most containers around what the short text shows."""

MAX_BITS = 200
"""Bits of the longest integer that is written out."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200

_PLAIN = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    fractions.Fraction,
    pathlib.PurePath,
    uuid.UUID,
    range,
)
"""Classes of the standard library whose text is short and costs little."""

_BRACKETS: dict[type, str] = {list: "[]", tuple: "()", set: "{}", frozenset: "{}"}


def arguments_text(node: TaskFuture[Any]) -> str:
    """Return the arguments of *node* as Python writes them, shortened."""
    words = map(_SHORT.repr, node._args)
    named = (f"{name}={_SHORT.repr(value)}" for name, value in node._kwargs.items())
    return ", ".join((*words, *named))[:TEXT_CHARS]


def short_arguments(node: TaskFuture[Any], *, masks_secrets: bool) -> str:
    """Return the arguments of *node* in at most `SHORT_CHARS` characters; it never raises.

    It runs no code of foreign classes, so it costs little, however large they are: of an array it
    has the shape, and of an object the attributes.  What looks like a secret, by its name or by
    itself, is `MASK`.

    Args:
        masks_secrets: whether secrets are masked.
    """
    words: list[str] = []
    room = SHORT_CHARS
    for name, value, is_named in _named_arguments(node):
        if room <= 0:
            words.append("…")
            break
        try:
            secret = masks_secrets and looks_secret(name)
            text = MASK if secret else shorten(_short(value, MAX_DEPTH), VALUE_CHARS)
            if masks_secrets and not secret:
                (text,) = mask_secrets([text])
        except Exception as error:  # a class may have broken attributes
            text = f"<{type(value).__name__}: {type(error).__name__}>"
        words.append(f"{name}={text}" if is_named else text)
        room -= len(words[-1]) + 2
    return shorten(", ".join(words), SHORT_CHARS)


def _named_arguments(node: TaskFuture[Any]) -> Iterator[tuple[str, Any, bool]]:
    """Yield the name of each argument, it, and whether it was given by name."""
    names: Iterable[str] = ()
    with suppress(TypeError, ValueError):  # a function of C may have no signature
        names = inspect.signature(node._spec.function).parameters
    for name, value in zip(itertools.chain(names, itertools.repeat("")), node._args, strict=False):
        yield name, value, False
    for name, value in node._kwargs.items():
        yield name, value, True


def _short(value: Any, depth: int) -> str:
    kind = type(value)
    if value is None or kind is bool or isinstance(value, type):
        return getattr(value, "__qualname__", None) or repr(value)
    if isinstance(value, enum.Enum):
        return f"{kind.__name__}.{value._name_}"
    if isinstance(value, int):
        bits = int.bit_length(value)
        return int.__repr__(value) if bits <= MAX_BITS else f"<int of {bits:,} bits>"
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, complex):
        return complex.__repr__(value)
    if isinstance(value, str):
        return _short_string(str.__getitem__(value, slice(VALUE_CHARS + 1)), str.__len__(value))
    if isinstance(value, bytes):
        return _short_string(bytes.__getitem__(value, slice(VALUE_CHARS + 1)), bytes.__len__(value))
    if kind in _PLAIN or isinstance(value, pathlib.PurePath):
        return str(value)
    if depth == 0:
        return f"<{kind.__name__}>"
    return _short_container(value, depth - 1) or _short_object(value, depth - 1)


def _short_string(start: str | bytes, length: int) -> str:
    return repr(start) if length == len(start) else f"{start[:VALUE_CHARS]!r}…"


def _short_container(value: Any, depth: int) -> str | None:
    """Return the text of a container of the standard library; None for anything else."""
    kind = type(value)
    if kind is dict:
        items = (
            f"{_short(key, depth)}: {_short(item, depth)}"
            for key, item in itertools.islice(value.items(), MAX_ITEMS)
        )
        return f"{{{_joined(items, len(value))}}}"
    brackets = _BRACKETS.get(kind)
    if brackets is None:
        return None
    items = (_short(item, depth) for item in itertools.islice(value, MAX_ITEMS))
    return f"{brackets[0]}{_joined(items, len(value))}{brackets[1]}"


def _short_object(value: Any, depth: int) -> str:
    kind = type(value)
    number = getattr(kind, "_number", None) and getattr(value, "_number", None)
    if isinstance(number, int):  # a task
        return _short_task(value, number, depth)
    if kind.__module__.partition(".")[0] in ("numpy", "torch", "jax", "pandas", "cupy"):
        return _short_array(value)
    if dataclasses.is_dataclass(kind):
        fields: Mapping[str, Any] = {
            field.name: object.__getattribute__(value, field.name)
            for field in dataclasses.fields(value)[:MAX_ITEMS]
        }
        many = len(dataclasses.fields(value))
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):  # a named tuple
        fields = dict(zip(kind._fields[:MAX_ITEMS], tuple.__iter__(value), strict=False))
        many = len(kind._fields)
    else:
        try:
            own = object.__getattribute__(value, "__dict__")
        except AttributeError:
            own = {}
        if callable(value) and hasattr(value, "__qualname__"):
            return str(value.__qualname__)
        fields = dict(itertools.islice(own.items(), MAX_ITEMS))
        many = len(own)
    if not fields:
        return f"<{kind.__name__}>"
    items = (
        f"{name}={MASK if looks_secret(str(name)) else _short(item, depth)}"
        for name, item in fields.items()
    )
    return f"{kind.__name__}({_joined(items, many)})"


def _short_task(task: Any, number: int, depth: int) -> str:
    """Return the value of a task that is done, which is what the call got; else its id."""
    if task.done() and not task.cancelled() and task.exception() is None:
        return _short(task.result(), depth)
    return task_id_text(number)


def _short_array(value: Any) -> str:
    """Return class, shape and type of an array; of a single number, the number."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if type(shape) is tuple and not shape and dtype is not None and hasattr(value, "item"):
        return _short(value.item(), 0)
    size = "" if shape is None else f" {'×'.join(map(str, shape))}"
    return f"<{type(value).__name__}{size}{'' if dtype is None else f' {dtype}'}>"


def _joined(items: Iterable[str], many: int) -> str:
    return ", ".join(items) + (", …" if many > MAX_ITEMS else "")
