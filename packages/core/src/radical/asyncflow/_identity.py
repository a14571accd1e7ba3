"""What makes two calls the same task: the content of values, as hashes.

Content, not identity: an array counts by its numbers, a dict and a set whatever their
order, a file by its bytes.  What cannot be compared this way makes a call that is never
reused; it is never a wrong match.
"""

from __future__ import annotations

import dataclasses
import enum
import io
import pickle
import types
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import PurePath
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from ._source import source_hash

__all__ = ["Unidentified", "call_content", "content", "large"]

LARGE = 1 << 20
"""Arguments of so many bytes are read in a thread."""

Leaf = Callable[[Any], bytes | None]

_TEXTUAL = frozenset({type(None), bool, int, float, complex, str, bytes, range})
"""Types whose `repr` says all there is to say, and differs where the values do."""

_ORDERED = frozenset({list, tuple})


class Unidentified(Exception):  # noqa: N818 - an answer, not an error
    """A value whose content cannot be compared; the text says why."""


def call_content(args: tuple[Any, ...], kwargs: Mapping[str, Any], leaf: Leaf) -> bytes:
    """The hash of a call's arguments.

    Args:
        leaf: is asked first for whatever is no plain value: its hash, or None.

    Raises:
        Unidentified: some argument cannot be compared.
    """
    if _TEXTUAL.issuperset(map(type, args)) and (
        not kwargs or _TEXTUAL.issuperset(map(type, kwargs.values()))
    ):
        text = repr((args, sorted(kwargs.items()))) if kwargs else repr(args)
        return text.encode("utf-8", "surrogatepass")
    return content((args, dict(kwargs)), leaf)


def content(value: Any, leaf: Leaf | None = None) -> bytes:
    """The hash of *value*.

    Raises:
        Unidentified: it cannot be compared.
    """
    try:
        return _Walk(leaf).content(value)
    except RecursionError:
        raise Unidentified("an argument is nested too deeply, or contains itself") from None


def large(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether some argument is so large that reading it would hold the loop."""
    for value in (*args, *kwargs.values()):
        size = getattr(value, "nbytes", None)
        if size is None and isinstance(value, bytes | bytearray | str | list | tuple | dict | set):
            size = len(value) * (1 if isinstance(value, bytes | bytearray | str) else 8)
        if isinstance(size, int) and size > LARGE:
            return True
    return False


class _Walk:
    def __init__(self, leaf: Leaf | None) -> None:
        self._leaf = leaf

    def content(self, value: Any) -> bytes:
        kind = type(value)
        if kind in _TEXTUAL:
            return _hash(kind.__name__.encode(), repr(value).encode("utf-8", "surrogatepass"))
        if kind in _ORDERED:
            if _TEXTUAL.issuperset(map(type, value)):
                return _hash(kind.__name__.encode(), repr(value).encode("utf-8", "surrogatepass"))
            return _hash(kind.__name__.encode(), *map(self.content, value))
        if kind is dict:
            pairs = [self.content(key) + self.content(item) for key, item in value.items()]
            return _hash(b"dict", *sorted(pairs))
        if kind is set or kind is frozenset:
            return _hash(kind.__name__.encode(), *sorted(map(self.content, value)))
        if self._leaf is not None and (known := self._leaf(value)) is not None:
            return _hash(b"leaf", known)
        return self._object(value, kind)

    def _object(self, value: Any, kind: type) -> bytes:
        name = f"{kind.__module__}.{kind.__qualname__}".encode()
        if kind is bytearray:
            return _hash(name, bytes(value))
        if isinstance(value, PurePath):
            return _hash(name, str(value).encode("utf-8", "surrogateescape"))
        if isinstance(value, enum.Enum):
            return _hash(name, value.name.encode())
        if isinstance(
            value, type | types.FunctionType | types.MethodType | types.BuiltinMethodType
        ):
            return _hash(b"code", self._code(value))
        if kind.__module__ == "numpy" and hasattr(value, "dtype") and not value.dtype.hasobject:
            return self._array(value, name)
        if isinstance(value, tuple):
            return _hash(name, *map(self.content, value))  # a named tuple
        if dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            parts = ((item.name, getattr(value, item.name, None)) for item in fields)
            return _hash(name, *(self.content(part) for part in parts))
        return _hash(name, *self._pickled(value))

    def _code(self, value: Any) -> bytes:
        if isinstance(value, type):
            return f"{value.__module__}.{value.__qualname__}".encode()
        try:
            return source_hash(value, self.content).encode()
        except TypeError as error:
            raise Unidentified(str(error)) from error

    def _array(self, value: Any, name: bytes) -> bytes:
        layout = repr((value.dtype.descr, value.shape)).encode()
        if not value.ndim or not value.flags.c_contiguous:
            return _hash(name, layout, value.tobytes())
        return _hash(name, layout, value.reshape(-1).view("u1"))

    def _pickled(self, value: Any) -> list[bytes]:
        """The pickle of *value*, without the marks that tell equal parts from one part."""
        for fast in (True, False):
            buffers: list[pickle.PickleBuffer] = []
            file = io.BytesIO()
            pickler = cloudpickle.Pickler(file, protocol=5, buffer_callback=buffers.append)
            pickler.fast = fast  # what is cyclic cannot be pickled so
            try:
                pickler.dump(value)
            except Exception as error:
                if fast:
                    continue
                raise Unidentified(
                    f"a {type(value).__name__} cannot be pickled: {error}"
                ) from error
            return [file.getvalue(), *(blake2b(buffer.raw()).digest() for buffer in buffers)]
        raise AssertionError("unreachable")


def _hash(*parts: Any) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        size = part.nbytes if hasattr(part, "nbytes") else len(part)
        digest.update(size.to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
