"""The functions of a backend: each is pickled once and known to workers by a number."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from .._public import public
from .._reference import looked_up_names
from ._carried import Carried
from ._importing import is_importable
from ._pickling import dump_function

__all__ = ["Code", "Codes"]

_MOST_SURROUNDINGS = 50  # functions that are followed from one to the next
_MOST_REMEMBERED = 31  # durations of a function; with fewer the estimate changes sooner
_MISSING = object()


@public("radical.asyncflow.worker")
class Code:
    """One pickled function.

    Attributes:
        number: what workers know it by.
        pickled: the function.
    """

    __slots__ = ("__weakref__", "_estimate", "_last", "_seen", "number", "pickled")

    def __init__(self, number: int, function: Any) -> None:
        self.number = number
        self._last: list[float] = []
        self._estimate: float | None = None  # None also if it is outdated
        self._seen = list(_surroundings(function))
        self.pickled = dump_function(function)

    def is_current(self) -> bool:
        """Return whether what the function refers to is still what was pickled.

        A closure's variable or a global function may have been bound anew since, for
        example when a notebook's cell is run again.  A change inside an object is not
        seen.
        """
        return all(look() is value for look, value in self._seen)

    @property
    def seconds(self) -> float | None:
        """Return how long a run takes, as far as runs have shown; None before the first.

        It is the median of the last ones.  So it stays what it was when a busy machine holds
        a few up, or when a first run imports modules; and where runs differ, half of them take
        less.
        """
        estimate = self._estimate
        if estimate is None and self._last:
            last = sorted(self._last)
            estimate = self._estimate = last[(len(last) - 1) // 2]
        return estimate

    def learn(self, seconds: float) -> None:
        """Take into account that a run took *seconds*; for any thread."""
        last = self._last
        last.append(seconds)
        if len(last) > _MOST_REMEMBERED:
            del last[0]
        self._estimate = None


@public("radical.asyncflow.worker")
class Codes:
    """The functions of one backend, for as long as they are alive; for any thread.

    Attributes:
        alive: their numbers; workers may forget any other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, tuple[weakref.ref[Any], Code]] = {}
        self._numbers = count(1)
        self.alive: set[int] = set()

    def code_of(self, function: Any) -> Code:
        """Return the code of *function*, which is pickled if it is new or has changed.

        Raises:
            SerializationError: it cannot be pickled.
        """
        entry = self._known.get(id(function))
        if entry is not None and entry[0]() is function and entry[1].is_current():
            return entry[1]
        with self._lock:
            entry = self._known.get(id(function))
            if entry is not None and entry[0]() is function and entry[1].is_current():
                return entry[1]
            code = Code(next(self._numbers), function)
            if entry is not None:
                if entry[1].seconds is not None:
                    code.learn(entry[1].seconds)
                self.alive.discard(entry[1].number)
            key = id(function)
            # A callable without weak references is pickled anew each time.
            with contextlib.suppress(TypeError):
                self._known[key] = weakref.ref(function, functools.partial(self._forget, key)), code
                self.alive.add(code.number)
            return code

    def expected_seconds(self, function: Any) -> float | None:
        """Return how long a run of *function* takes; None if no run has shown it."""
        entry = self._known.get(id(function))
        return None if entry is None else entry[1].seconds

    def _forget(self, key: int, reference: weakref.ref[Any]) -> None:
        entry = self._known.get(key)
        if entry is not None and entry[0] is reference:
            del self._known[key]
            self.alive.discard(entry[1].number)


def _surroundings(function: Any) -> Iterator[tuple[Callable[[], Any], Any]]:
    """Yield what is pickled along with *function*, as (how to look it up, what is there)."""
    todo: list[Any] = [function.function if isinstance(function, Carried) else function]
    seen: set[int] = set()
    while todo:
        item = todo.pop()
        while hasattr(type(item), "cache_info") or isinstance(item, functools.partial):
            item = item.func if isinstance(item, functools.partial) else item.__wrapped__
        if not isinstance(item, types.FunctionType) or id(item) in seen:
            continue
        if len(seen) > _MOST_SURROUNDINGS:
            return
        seen.add(id(item))
        for cell in item.__closure__ or ():
            look = functools.partial(_content, cell)
            yield look, look()
            todo.append(look())
        if _travels_by_value(item):
            # IPython's %autoreload puts new code into a function that is there.
            yield functools.partial(_code_of, weakref.ref(item)), item.__code__
            for name in looked_up_names(item.__code__):
                if name in item.__globals__:
                    value = item.__globals__[name]
                    yield functools.partial(item.__globals__.get, name, _MISSING), value
                    todo.append(value)


def _travels_by_value(function: types.FunctionType) -> bool:
    module = sys.modules.get(function.__module__ or "")
    return (
        module is None
        or function.__module__ == "__main__"
        or "<locals>" in function.__qualname__
        or not is_importable(module)
    )


def _code_of(function: weakref.ref[types.FunctionType]) -> Any:
    there = function()
    return None if there is None else there.__code__


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return _MISSING
