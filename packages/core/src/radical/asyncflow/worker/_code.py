"""Functions on their way to workers: pickled once, sent to each worker once.

A function travels by value if a worker could not import it: it is defined in
``__main__``, inside of another function, or in a module that exists in this process
alone (a test module, a notebook, one made by ``exec``).
"""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import threading
import types
import weakref
from collections import ChainMap
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, ClassVar

import cloudpickle  # type: ignore[import-untyped]

from .._public import public
from .._text import safe_str
from ..errors import SerializationError
from ._carried import Carried

__all__ = ["Code", "Codes", "by_value", "dump_function", "safe_str", "unsendable"]

_MISSING = object()
_NO_FILE = "<dynamic-code>"
_registering = threading.Lock()


@public("radical.asyncflow.worker")
class Code:
    """One pickled function.

    Attributes:
        number: what workers know it by.
        pickled: the function.
        seconds: what a run of it takes, as learnt so far; None before the first.
    """

    __slots__ = ("__weakref__", "_seen", "number", "pickled", "seconds")

    def __init__(self, number: int, function: Any) -> None:
        self.number = number
        self.seconds: float | None = None
        self._seen = list(_surroundings(function))
        self.pickled = dump_function(function)

    def current(self) -> bool:
        """Whether what the function refers to is still what was pickled.

        A closure's variable or a global function may have been bound anew since, as
        when a notebook's cell is run again.  A change inside of an object is not seen.
        """
        return all(look() is value for look, value in self._seen)

    def learn(self, seconds: float) -> None:
        """A run took that long; a short one counts for more, as a busy machine makes none."""
        known = self.seconds
        self.seconds = seconds if known is None or seconds < known else (known + seconds) / 2


@public("radical.asyncflow.worker")
class Codes:
    """The functions of one backend, for as long as they are alive.

    Attributes:
        alive: their numbers; workers may forget any other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, tuple[weakref.ref[Any], Code]] = {}
        self._numbers = count(1)
        self.alive: set[int] = set()

    def of(self, function: Any) -> Code:
        """The code of *function*; from any thread.

        Raises:
            SerializationError: it cannot be pickled.
        """
        entry = self._known.get(id(function))
        if entry is not None and entry[0]() is function and entry[1].current():
            return entry[1]
        with self._lock:
            entry = self._known.get(id(function))
            if entry is not None and entry[0]() is function and entry[1].current():
                return entry[1]
            code = Code(next(self._numbers), function)
            if entry is not None:
                code.seconds = entry[1].seconds
                self.alive.discard(entry[1].number)
            key = id(function)
            # A callable without weak references is pickled anew for each chunk.
            with contextlib.suppress(TypeError):
                self._known[key] = weakref.ref(function, functools.partial(self._forget, key)), code
                self.alive.add(code.number)
            return code

    def expect(self, function: Any) -> float | None:
        """Seconds that a run of *function* takes, if that is known."""
        entry = self._known.get(id(function))
        return None if entry is None else entry[1].seconds

    def _forget(self, key: int, reference: weakref.ref[Any]) -> None:
        entry = self._known.get(key)
        if entry is not None and entry[0] is reference:
            del self._known[key]
            self.alive.discard(entry[1].number)


def _reduce_code(code: types.CodeType) -> tuple[Any, tuple[Any, ...]]:
    make, args = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return make, tuple(code.co_filename if item == _NO_FILE else item for item in args)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Keeps the names of files, so that a traceback from a worker tells where it failed.

    cloudpickle puts another in their place, in order that equal functions give equal
    bytes; nobody here compares them.
    """

    dispatch_table: ClassVar = ChainMap(
        {types.CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table
    )


@public("radical.asyncflow.worker")
def dump_function(function: Any) -> bytes:
    """*function* as bytes.

    Raises:
        SerializationError: it cannot be pickled.
    """
    try:
        with by_value(function):
            file = io.BytesIO()
            _Pickler(file, protocol=5).dump(function)
        return file.getvalue()
    except BaseException as exc:  # whatever a captured object's __reduce__ raises
        raise unsendable("function", exc) from exc


@public("radical.asyncflow.worker")
def unsendable(what: str, exc: BaseException) -> SerializationError:
    """The error for a *what* that *exc* kept from being sent."""
    error = SerializationError(what, safe_str(exc))
    error.__cause__ = exc
    return error


@public("radical.asyncflow.worker")
@contextlib.contextmanager
def by_value(function: Any) -> Iterator[None]:
    """While this is open, cloudpickle copies what belongs to *function*'s module, if it must."""
    name = getattr(function, "__module__", None)
    module = sys.modules.get(name) if name else None
    if module is None or name == "__main__" or _importable(module):
        yield
        return
    with _registering:
        mine = module.__name__ not in cloudpickle.list_registry_pickle_by_value()
        if mine:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            if mine:
                cloudpickle.unregister_pickle_by_value(module)


_verdicts: weakref.WeakKeyDictionary[types.ModuleType, tuple[tuple[str, ...], bool]] = (
    weakref.WeakKeyDictionary()
)


def _importable(module: types.ModuleType) -> bool:
    """Whether an import in a fresh interpreter with this ``sys.path`` finds this module."""
    path = tuple(sys.path)
    known = _verdicts.get(module)
    if known is None or known[0] != path:
        known = _verdicts[module] = path, _find(module)
    return known[1]


def _find(module: types.ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    names = module.__name__.split(".")
    if file is None and names[0] in sys.builtin_module_names:
        return True
    path: Any = None
    for end in range(1, len(names) + 1):
        name = ".".join(names[:end])
        spec = None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path) if find is not None else None
            if spec is not None:
                break
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return spec is not None and (file is None or spec.origin in (file, "frozen"))


def _surroundings(function: Any) -> Iterator[tuple[Callable[[], Any], Any]]:
    """What a function that travels by value takes along, as (how to look, what is there)."""
    todo = [function.function if isinstance(function, Carried) else function]
    seen: set[int] = set()
    while todo:
        item = todo.pop()
        if not isinstance(item, types.FunctionType) or id(item) in seen or len(seen) > 50:
            continue
        seen.add(id(item))
        module = sys.modules.get(item.__module__ or "")
        for cell in item.__closure__ or ():
            look = functools.partial(_cell, cell)
            yield look, look()
            todo.append(look())
        if (
            "<locals>" in item.__qualname__
            or module is None
            or item.__module__ == "__main__"
            or not _importable(module)
        ):
            for name in _global_names(item.__code__):
                if name in item.__globals__:
                    value = item.__globals__[name]
                    yield functools.partial(item.__globals__.get, name, _MISSING), value
                    todo.append(value)


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return _MISSING


def _global_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)
