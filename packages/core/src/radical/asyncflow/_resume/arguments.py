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

_ARRAYS = frozenset({"numpy", "torch", "jax", "jaxlib", "pandas", "cupy", "xarray", "polars"})
"""The packages whose objects are told by their shape."""

_BRACKETS: dict[type, str] = {list: "[]", tuple: "()", set: "{}", frozenset: "{}"}


def arguments_text(node: TaskFuture[Any]) -> str:
    """Return the arguments of *node* as Python writes them, shortened."""
    words = map(_SHORT.repr, node._args)
    named = (f"{name}={_SHORT.repr(value)}" for name, value in node._kwargs.items())
    return ", ".join((*words, *named))[:TEXT_CHARS]


def short_arguments(node: TaskFuture[Any], *, masks_secrets: bool) -> str:
    """Return the arguments of *node* in at most `SHORT_CHARS` characters; it never raises.

    It runs no code of foreign classes, so it costs little, however large they are: of an array it
    has the shape, and of an object the attributes.

    Args:
        masks_secrets: whether `MASK` stands for what looks like a secret, by its name or by itself.
    """
    shorter = _Shorter(masks_secrets)
    words: list[str] = []
    room = SHORT_CHARS
    for name, value, is_named in _named_arguments(node):
        if room <= 0:
            words.append("…")
            break
        try:
            text = shorten(shorter.named(name, value, MAX_DEPTH), VALUE_CHARS)
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


class _Shorter:
    """A maker of short texts of values, which asks no method of theirs.

    The *depth* is in how many containers more a value may show what is in it.
    """

    def __init__(self, masks_secrets: bool) -> None:
        self._masks = masks_secrets

    def named(self, name: object, value: Any, depth: int) -> str:
        """Return the text of the value that *name* names."""
        secret = self._masks and type(name) is str and looks_secret(name)
        return MASK if secret else self.value(value, depth)

    def value(self, value: Any, depth: int) -> str:
        """Return the text of any value."""
        kind = type(value)
        atom = self._atom(value)
        if atom is not None:
            return atom
        if isinstance(value, _PLAIN):
            return str(value)
        if depth == 0:
            return f"<{kind.__name__}>"
        if kind is dict:
            items = itertools.islice(value.items(), MAX_ITEMS)
            texts = (
                f"{self.value(key, depth - 1)}: {self.named(key, item, depth - 1)}"
                for key, item in items
            )
            return f"{{{_joined(texts, len(value))}}}"
        brackets = _BRACKETS.get(kind)
        if brackets is not None:
            texts = (self.value(item, depth - 1) for item in itertools.islice(value, MAX_ITEMS))
            return f"{brackets[0]}{_joined(texts, len(value))}{brackets[1]}"
        return self._object(value, depth - 1)

    def _atom(self, value: Any) -> str | None:
        """Return the text of a value that has no parts; None for any other."""
        kind = type(value)
        if value is None or kind is bool:
            return repr(value)
        if isinstance(value, type):
            return value.__qualname__
        if isinstance(value, enum.Enum):
            return f"{kind.__name__}.{value._name_}"
        if isinstance(value, int):
            bits = int.bit_length(value)
            return int.__repr__(value) if bits <= MAX_BITS else f"<int of {bits:,} bits>"
        for number in (float, complex):
            if isinstance(value, number):
                return number.__repr__(value)
        if isinstance(value, str):
            start = str.__getitem__(value, slice(VALUE_CHARS + 1))
            masked = mask_secrets([start])[0] if self._masks else start
            return repr(masked) if masked != start else _cut(start, str.__len__(value))
        if isinstance(value, bytes):
            start_bytes = bytes.__getitem__(value, slice(VALUE_CHARS + 1))
            return _cut(start_bytes, bytes.__len__(value))
        return None

    def _object(self, value: Any, depth: int) -> str:
        kind = type(value)
        number = getattr(value, "_number", None) if hasattr(kind, "_number") else None
        if isinstance(number, int):  # a task
            return self._task(value, number, depth)
        if kind.__module__.partition(".")[0] in _ARRAYS:
            return self._array(value)
        if callable(value) and hasattr(value, "__qualname__"):
            return str(value.__qualname__)
        fields, many = _fields(value)
        if not fields:
            return f"<{kind.__name__}>"
        texts = (f"{name}={self.named(name, item, depth)}" for name, item in fields.items())
        return f"{kind.__name__}({_joined(texts, many)})"

    def _task(self, task: Any, number: int, depth: int) -> str:
        """Return the value of a task that is done, which is what the call got; else its id."""
        if task.done() and not task.cancelled() and task.exception() is None:
            return self.value(task.result(), depth)
        return task_id_text(number)

    def _array(self, value: Any) -> str:
        """Return class, shape and type of an array; of a single number, the number."""
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if type(shape) is tuple and not shape and dtype is not None and hasattr(value, "item"):
            return self.value(value.item(), 0)
        size = "" if shape is None else f" {'×'.join(map(str, shape))}"
        return f"<{type(value).__name__}{size}{'' if dtype is None else f' {dtype}'}>"


def _fields(value: Any) -> tuple[Mapping[str, Any], int]:
    """Return the first few attributes of an object by name, and how many there are."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
        shown = names[:MAX_ITEMS]
        return {name: object.__getattribute__(value, name) for name in shown}, len(names)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):  # a named tuple
        pairs = zip(kind._fields[:MAX_ITEMS], tuple.__iter__(value), strict=False)
        return dict(pairs), len(kind._fields)
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}, 0
    return dict(itertools.islice(own.items(), MAX_ITEMS)), len(own)


def _cut(start: str | bytes, length: int) -> str:
    return repr(start) if length == len(start) else f"{start[:VALUE_CHARS]!r}…"


def _joined(items: Iterable[str], many: int) -> str:
    return ", ".join(items) + (", …" if many > MAX_ITEMS else "")
