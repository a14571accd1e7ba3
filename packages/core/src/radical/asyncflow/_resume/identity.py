"""Hash the content of values, which decides whether two calls are the same task.

Only the content counts, not the object: the numbers of an array, the items of a dict or a set
in any order, the bytes of a file.  A call with a value that cannot be compared this way is
never reused; there is never a wrong match.
"""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from pathlib import PurePath
from typing import Any

from .._text import safe_message, safe_str
from .source import source_hash

__all__ = ["Unidentified", "call_content", "content", "is_large", "plain_content"]

LARGE_BYTES = 1 << 20
"""The number of bytes beyond which an argument is read in a thread."""

Leaf = Callable[[Any], bytes | None]

_TEXTUAL = frozenset({type(None), bool, int, float, complex, str, bytes, range})
"""Types whose `repr` has all of the content, and differs if the values differ."""

_NUMBERS = frozenset({bool, int, float, type(None)})

_ORDERED = frozenset({list, tuple})

_CODE = (
    type,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    functools.partial,
)

_NO_DEPTH = 1 << 30


class Unidentified(Exception):  # noqa: N818 - an answer, not an error
    """The answer for a value whose content cannot be compared; its text says why."""


def call_content(args: tuple[Any, ...], kwargs: Mapping[str, Any], leaf: Leaf) -> bytes:
    """Return the hash of a call's arguments.

    Args:
        leaf: a function that is asked first for every value that is not plain; it returns
            the hash of the value, or None.

    Raises:
        Unidentified: some argument cannot be compared.
    """
    plain = plain_content(args, kwargs)
    return content((args, dict(kwargs)), leaf) if plain is None else plain


def plain_content(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes | None:
    """Return the same as `call_content` if all arguments are plain values, else None."""
    if not _TEXTUAL.issuperset(map(type, args)):
        return None
    if not kwargs:
        return repr(args).encode("utf-8", "surrogatepass")
    if not _TEXTUAL.issuperset(map(type, kwargs.values())):
        return None
    return repr((args, sorted(kwargs.items()))).encode("utf-8", "surrogatepass")


def content(value: Any, leaf: Leaf | None = None) -> bytes:
    """Return the hash of *value*.

    Raises:
        Unidentified: *value* cannot be compared.
    """
    try:
        return _Walk(leaf).content(value)
    except RecursionError:
        raise Unidentified("an argument is nested too deeply") from None
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:  # such as a SystemExit that a class of the arguments raised
        raise Unidentified(f"an argument cannot be read: {safe_str(error)}") from error


def is_large(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Tell whether an argument is so large that reading it would hold the loop."""
    for value in (*args, *kwargs.values()) if kwargs else args:
        if type(value) in _NUMBERS:
            continue
        size = getattr(value, "nbytes", None)
        if size is None and isinstance(value, bytes | bytearray | str | list | tuple | dict | set):
            size = len(value) * (1 if isinstance(value, bytes | bytearray | str) else 8)
        if isinstance(size, int) and size > LARGE_BYTES:
            return True
    return False


class _Walk:
    """A walk through one value of any type.

    Inside of an object, a reference back to it is hashed as the distance to it.  An object
    that occurs in several places is read once.
    """

    def __init__(self, leaf: Leaf | None) -> None:
        self._leaf = leaf
        self._open: dict[int, int] = {}
        self._known: dict[int, tuple[bytes, Any]] = {}
        self._highest = _NO_DEPTH

    def content(self, value: Any) -> bytes:
        kind = type(value)
        if kind in _TEXTUAL or (kind in _ORDERED and _TEXTUAL.issuperset(map(type, value))):
            return _hash(kind.__name__.encode(), repr(value).encode("utf-8", "surrogatepass"))
        object_id = id(value)
        if object_id in self._known:
            return self._known[object_id][0]
        depth = len(self._open)
        if object_id in self._open:
            self._highest = min(self._highest, self._open[object_id])
            return _hash(b"above", str(depth - self._open[object_id]).encode())
        outside, self._highest = self._highest, _NO_DEPTH
        self._open[object_id] = depth
        digest = self._inside(value, kind)
        del self._open[object_id]
        if self._highest >= depth:  # its hash does not depend on what is around it
            self._known[object_id] = digest, value
            self._highest = outside
        else:
            self._highest = min(self._highest, outside)
        return digest

    def _inside(self, value: Any, kind: type) -> bytes:
        if kind in _ORDERED:
            return _hash(kind.__name__.encode(), *map(self.content, value))
        if kind is dict:
            return _hash(b"dict", *sorted(self._pairs(value.items())))
        if kind is set or kind is frozenset:
            return _hash(kind.__name__.encode(), *sorted(map(self.content, value)))
        if self._leaf is not None and (known := self._leaf(value)) is not None:
            return _hash(b"leaf", known)
        return _hash(_name(kind).encode(), *self._object(value, kind))

    def _object(self, value: Any, kind: type) -> Iterable[Any]:
        if kind is bytearray:
            return [bytes(value)]
        if isinstance(value, PurePath):
            return [str(value).encode("utf-8", "surrogateescape")]
        if isinstance(value, enum.Enum):
            return [value.name.encode(), self.content(value.value)]
        if isinstance(value, types.ModuleType):
            return [value.__name__.encode()]
        if isinstance(value, _CODE):
            try:
                return [source_hash(value, self.content).encode()]
            except TypeError as error:
                raise Unidentified(str(error)) from error
        if kind.__module__ == "numpy" and hasattr(value, "dtype") and not value.dtype.hasobject:
            return _array(value)
        if isinstance(value, set | frozenset):
            return sorted(map(self.content, value))
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return map(self.content, value)
        if dataclasses.is_dataclass(value) and not hasattr(kind, "__getstate__"):
            fields = dataclasses.fields(value)
            return (self.content(getattr(value, item.name, None)) for item in fields)
        return self._reduced(value, kind)

    def _reduced(self, value: Any, kind: type) -> Iterable[bytes]:
        """Yield hashes of the parts into which `pickle` would take *value* apart.

        A pickle itself will not do, because its bytes depend on more than the content.
        """
        make: Any
        args: Any
        state: Any
        items: Any
        pairs: Any
        try:
            reduce = copyreg.dispatch_table.get(kind)
            reduced: Any = value.__reduce_ex__(4) if reduce is None else reduce(value)
            if isinstance(reduced, str):
                yield reduced.encode()
                return
            make, args, state, items, pairs = (*reduced, None, None, None)[:5]
            items = None if items is None else list(items)
            pairs = None if pairs is None else list(pairs)
        except RecursionError:
            raise
        except Exception as error:
            reason = safe_message(error)
            raise Unidentified(f"a {kind.__name__} cannot be pickled: {reason}") from error
        # By name, because the code that puts the parts together belongs to the class.
        yield _name(make).encode() if hasattr(make, "__qualname__") else self.content(make)
        yield self.content(args)
        yield self.content(state)
        yield self.content(items)
        if pairs is not None:
            hashes = self._pairs(pairs)
            yield from hashes if isinstance(value, OrderedDict) else sorted(hashes)

    def _pairs(self, items: Iterable[tuple[Any, Any]]) -> list[bytes]:
        return [self.content(key) + self.content(item) for key, item in items]


def _array(value: Any) -> Iterable[Any]:
    layout = repr((value.dtype.descr, value.shape)).encode()
    if not value.ndim or not value.size or not value.flags.c_contiguous:
        return [layout, value.tobytes()]
    return [layout, value.reshape(-1).view("u1")]


def _name(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _hash(*parts: Any) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        size = part.nbytes if hasattr(part, "nbytes") else len(part)
        digest.update(size.to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
