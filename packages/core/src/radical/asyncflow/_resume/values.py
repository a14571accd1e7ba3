"""Hash the content of values: the numbers of an array, the items of a dict in any order.

Only the content counts, not the object.  What cannot be described completely is `Unidentified`:
a miss costs time, a wrong match would cost the truth.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import gc
import os
import pickle
import struct
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import PurePath
from typing import Any

from .._text import safe_message
from .distributions import home_of_module, installed_name

__all__ = ["Leaf", "Unidentified", "ValueWalk", "hash_parts", "is_code"]

Leaf = Callable[[Any], bytes | None]

TEXTUAL = frozenset({type(None), bool, int, float, complex, str, bytes, range})
"""Types whose `repr` has all of the content, and differs if the values differ."""

SINGLE = frozenset({type(Ellipsis), type(NotImplemented)})

ORDERED = frozenset({list, tuple})

CODE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.CodeType,
    functools._lru_cache_wrapper,
)
CODE_NAMES = frozenset({"cython_function_or_method", "fused_cython_function", "nb_func"})
"""Functions of compiled modules whose type has no public name."""

BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (dict, lambda value: list(dict.items(value))),
    (list, lambda value: list.copy(value)),
    (tuple, lambda value: list(tuple.__iter__(value))),
    (deque, lambda value: [*deque.__iter__(value), value.maxlen]),
    (str, str.__str__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (int, lambda value: hex(int.__int__(value))),
    (float, float.__repr__),
    (complex, complex.__repr__),
)
"""What an object of a user's class has beside its attributes, by its built-in base."""

WORD_BYTES = 8
NO_DEPTH = 1 << 30


class Unidentified(Exception):  # noqa: N818 - an answer, not an error
    """The answer for a value whose content cannot be compared; its text says why."""


def hash_parts(*parts: Any) -> bytes:
    """Return the hash of *parts*, each bytes or a buffer."""
    digest = blake2b(digest_size=16)
    for part in parts:
        size = part.nbytes if hasattr(part, "nbytes") else len(part)
        digest.update(size.to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def is_code(value: Any) -> bool:
    """Tell whether *value* is a class, a function, a module or a part of one."""
    return isinstance(value, CODE) or type(value).__name__ in CODE_NAMES


def textual(value: Any) -> bytes:
    """Return the text of a value that is plain, or a list or tuple of plain values."""
    try:
        return repr(value).encode("utf-8", "surrogatepass")
    except ValueError:  # an integer with more digits than `str` may write
        if isinstance(value, int):
            return hex(value).encode()
        return b"".join(b"%d:%s" % (len(part), part) for part in map(textual, value))


class ValueWalk:
    """A walk through one value of any type.

    Inside of an object, a reference back to it is hashed as the distance to it.  An object
    that occurs in several places is read once.  What a subclass calls code (classes,
    functions, modules) is left to its `reference`.

    Args:
        leaf: a function that is asked first for every value that is not plain; it returns
            the hash of the value, or None.
        computed: whether the values count that a `functools.cached_property` has stored.

    Attributes:
        met_computed: whether there were any.
    """

    def __init__(self, leaf: Leaf | None = None, *, computed: bool = True) -> None:
        self.met_computed = False
        self._in_order = False
        self._leaf = leaf
        self._computed = computed
        self._open: dict[int, int] = {}
        self._known: dict[int, tuple[bytes, Any]] = {}
        self._highest = NO_DEPTH

    def reference(self, value: Any) -> bytes:
        """Return the bytes that stand for a class, a function or a module."""
        raise NotImplementedError

    def content(self, value: Any) -> bytes:
        """Return the hash of *value*.

        Raises:
            Unidentified: *value* cannot be compared.
        """
        kind = type(value)
        if kind in TEXTUAL or (kind in ORDERED and TEXTUAL.issuperset(map(type, value))):
            return hash_parts(kind.__name__.encode(), textual(value))
        object_id = id(value)
        if object_id in self._known:
            return self._known[object_id][0]
        depth = len(self._open)
        if object_id in self._open:
            self._highest = min(self._highest, self._open[object_id])
            return hash_parts(b"above", str(depth - self._open[object_id]).encode())
        outside, self._highest = self._highest, NO_DEPTH
        self._open[object_id] = depth
        try:
            digest = self._inside(value, kind)
        finally:
            del self._open[object_id]
        if self._highest >= depth:  # its hash does not depend on what is around it
            self._known[object_id] = digest, value
            self._highest = outside
        else:
            self._highest = min(self._highest, outside)
        return digest

    def _inside(self, value: Any, kind: type) -> bytes:
        if kind in ORDERED:
            return hash_parts(kind.__name__.encode(), *map(self.content, value))
        if kind is dict:
            return hash_parts(b"dict", *self._arranged(self._pairs(value.items())))
        if kind is set or kind is frozenset:
            return hash_parts(kind.__name__.encode(), *self._unordered(value))
        if self._leaf is not None and (known := self._leaf(value)) is not None:
            return hash_parts(b"leaf", known)
        if is_code(value):
            return hash_parts(b"code", self.reference(value))
        if value is os.environ:  # as all of the outside, it does not count
            return hash_parts(b"environment")
        if kind in SINGLE:
            return hash_parts(b"single", repr(value).encode())
        return hash_parts(self.reference(kind), *self._object(value, kind))

    def _object(self, value: Any, kind: type) -> Iterable[Any]:
        parts = self._part_of_a_class(value, kind)
        if parts is not None:
            return parts
        if kind is bytearray:
            return [bytes(value)]
        if isinstance(value, PurePath) and home_of_module(kind.__module__) is not None:
            return [str(value).encode("utf-8", "surrogateescape")]
        if isinstance(value, enum.Enum):
            return [str(value.name).encode(), self.content(value.value), *self._member(value)]
        if kind.__module__ == "numpy" and hasattr(value, "dtype") and kind.__name__ != "memmap":
            return self._array(value, kind)
        if home_of_module(kind.__module__) is None:
            return self._own(value, kind)
        if isinstance(value, set | frozenset):
            return self._unordered(value)
        return self._reduced(value, kind)

    def _part_of_a_class(self, value: Any, kind: type) -> Iterable[bytes] | None:
        """Return the parts of a method, a property and the like, which `pickle` does not know."""
        parts: tuple[Any, ...]
        if isinstance(value, types.MethodType):
            parts = value.__func__, value.__self__
        elif isinstance(value, types.MethodWrapperType):
            parts = value.__name__, value.__self__
        elif isinstance(value, property):
            parts = value.fget, value.fset, value.fdel
        elif isinstance(value, staticmethod | classmethod):
            parts = (value.__func__,)
        elif isinstance(value, functools.cached_property):
            parts = (value.func,)
        elif isinstance(value, functools.singledispatchmethod):
            parts = value.dispatcher, value.func
        elif isinstance(value, types.MappingProxyType):
            parts = (dict(value),)
        elif isinstance(value, types.CellType):
            parts = (value.cell_contents,)
        elif f"{kind.__module__}.{kind.__qualname__}" in (
            "numpy.vectorize",
            "numpy.lib._function_base_impl.vectorize",
        ):
            names = ("pyfunc", "otypes", "signature", "excluded", "cache", "__doc__")
            parts = tuple(getattr(value, name, None) for name in names)
        elif kind is struct.Struct:
            parts = (value.format,)
        elif kind.__module__ == "numpy" and (function := _function_of_ufunc(value)) is not None:
            parts = function, value.nin, value.nout, value.identity
        else:
            return None
        extra = getattr(value, "__dict__", None)  # a subclass of property, say
        known = isinstance(value, functools.cached_property | functools.singledispatchmethod)
        if extra and not known and not isinstance(value, types.MethodType) and len(parts) < 6:
            parts = *parts, {k: v for k, v in extra.items() if not k.startswith("__")}
        return map(self.content, parts)

    def _member(self, value: enum.Enum) -> Iterator[bytes]:
        """Yield the attributes that were given to a member of an enumeration."""
        for name, attribute in sorted(vars(value).items()):
            if not name.startswith("_"):
                yield name.encode() + self.content(attribute)

    def _array(self, value: Any, kind: type) -> list[Any]:
        dtype = value.dtype
        layout = self.content((*dtype.__reduce__()[1:], value.shape))
        if dtype.hasobject or kind.__name__ == "matrix":
            return [layout, self.content(value.tolist())]
        if not value.ndim or not value.size or not value.flags.c_contiguous:
            return [layout, value.tobytes()]
        return [layout, value.reshape(-1).view("u1")]

    def _own(self, value: Any, kind: type) -> Iterator[bytes]:
        """Yield the state of an object of a user's class, beside the class itself.

        That is every attribute, and also what the class lets `pickle` see if it has a say in that.
        """
        yield from self._attributes(value, kind)
        if not _has_hidden_state(kind):
            if _reduces_itself(kind):
                yield from self._reduced(value, kind, complete=True)
            return
        if isinstance(value, set | frozenset):
            yield from self._unordered(frozenset(value))
            return
        for base, read in BASES:
            if isinstance(value, base):
                items = read(value)
                if base is dict and not isinstance(value, OrderedDict):
                    yield from self._arranged(self._pairs(items))
                else:
                    yield self.content(items)
                if kind.__basicsize__ <= _python_size(kind) + base.__basicsize__:
                    return
        yield from self._reduced(value, kind)

    def _attributes(self, value: Any, kind: type) -> Iterator[bytes]:
        state: dict[str, Any] = dict(getattr(value, "__dict__", None) or {})
        for base in kind.__mro__:
            slots = base.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else tuple(slots):
                if name.startswith("__") and not name.endswith("__"):
                    name = f"_{base.__name__.lstrip('_')}{name}"
                member = base.__dict__.get(name)
                if isinstance(member, types.MemberDescriptorType):
                    try:
                        state[f"{base.__qualname__}.{name}"] = member.__get__(value, kind)
                    except AttributeError:
                        continue
        for name in sorted(state, key=str):
            if isinstance(getattr(kind, str(name), None), functools.cached_property):
                self.met_computed = True
                if not self._computed:
                    continue
            yield str(name).encode("utf-8", "surrogatepass")
            try:
                yield self.content(state[name])
            except Unidentified as error:
                raise Unidentified(f"its attribute {name}: {error}") from error

    def _reduced(self, value: Any, kind: type, *, complete: bool = False) -> Iterable[bytes]:
        """Yield hashes of the parts into which `pickle` would take *value* apart.

        A pickle itself will not do, because its bytes depend on more than the content.

        Args:
            complete: whether all that *value* holds is known already.
        """
        try:
            reduce = copyreg.dispatch_table.get(kind)
            reduced: Any = value.__reduce_ex__(4) if reduce is None else reduce(value)
            if not isinstance(reduced, str):
                make, args, state, items, pairs = (*reduced, None, None, None)[:5]
                items = None if items is None else list(items)
                pairs = None if pairs is None else list(pairs)
        except RecursionError:
            raise
        except Exception as error:
            reason = safe_message(error)
            raise Unidentified(f"a {kind.__name__} cannot be pickled: {reason}") from error
        if isinstance(reduced, str):
            yield reduced.encode() if complete else self._by_name(value, reduced)
            return
        yield self.content(make)
        yield self.content(args)
        yield self.content(state)
        yield self.content(items)
        if pairs is not None:
            hashes = self._pairs(pairs)
            yield from hashes if isinstance(value, OrderedDict) else self._arranged(hashes)

    def _by_name(self, value: Any, name: str) -> bytes:
        """Return what stands for an object that `pickle` finds by its name."""
        module = sys.modules.get(pickle.whichmodule(value, name))  # type: ignore[attr-defined]
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not value or module is None:
            raise Unidentified(f"{type(value).__name__} {name!r} is found by name alone")
        if type(value).__module__ == "typing":  # a TypeVar, say, which says nothing
            return name.encode()
        if installed_name(module) is None:
            raise Unidentified(f"{module.__name__}.{name} is found by name alone")
        return self.reference(module) + name.encode()

    def _pairs(self, items: Iterable[tuple[Any, Any]]) -> list[bytes]:
        return [self.content(key) + self.content(item) for key, item in items]

    def _arranged(self, pairs: list[bytes]) -> list[bytes]:
        """Return the *pairs* of a dict, sorted unless their order counts here."""
        return pairs if self._in_order else sorted(pairs)

    def _unordered(self, items: Iterable[Any]) -> list[bytes]:
        # Their order differs from process to process, so functions are taken by their names.
        ordered = sorted(items, key=lambda item: (type(item).__qualname__, _name_of(item)))
        return sorted(map(self.content, ordered))


def _python_size(kind: type) -> int:
    """Return the bytes that the attributes and slots of a class add to what its bases have."""
    slots = {
        name
        for base in kind.__mro__
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and "__slots__" in vars(base)
    }
    offsets = kind.__dictoffset__ > 0, kind.__weakrefoffset__ > 0
    return (len(slots) + sum(offsets)) * WORD_BYTES


def _has_hidden_state(kind: type) -> bool:
    """Tell whether the objects of a class hold more than attributes: what C code put there."""
    return bool(kind.__itemsize__) or (
        kind.__basicsize__ > object.__basicsize__ + _python_size(kind)
    )


def _reduces_itself(kind: Any) -> bool:
    """Tell whether a class decides by itself what `pickle` sees of its objects."""
    return any(
        getattr(kind, name) is not getattr(object, name, None)
        for name in ("__reduce__", "__reduce_ex__", "__getstate__")
    )


def _function_of_ufunc(value: Any) -> Callable[..., Any] | None:
    """Return the function from which `numpy.frompyfunc` made *value*; None for anything else."""
    if type(value).__name__ != "ufunc" or not value.__name__.endswith(" (vectorized)"):
        return None
    found = [one for one in gc.get_referents(value) if callable(one)]
    return found[0] if len(found) == 1 else None


def _name_of(value: Any) -> str:
    return str(getattr(value, "__qualname__", "")) if is_code(value) else ""
