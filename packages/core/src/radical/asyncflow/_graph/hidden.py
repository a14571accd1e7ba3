"""Find futures that an argument holds where `rewrite` does not look for them.

A future in a dataclass, in any other object or in a container of another kind would reach the
body of the task as it is.  The search goes by what the garbage collector knows of an object,
so it needs no rules for each kind.  It looks at the nearest objects first, and only at so many
that it costs microseconds; where arguments are pickled, pickling finds the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from gc import get_referents, is_tracked
from itertools import chain, islice, pairwise
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    MemberDescriptorType,
    ModuleType,
)
from typing import Any, NamedTuple

from .arguments import ATOMS
from .items import ItemOf
from .scheduler import Node

__all__ = ["Hidden", "find_hidden", "is_dask_future"]

MOST_OBJECTS = 500
"""Objects that are looked at inside of one argument."""

_CLOSED = (BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType, type)
"""Types of objects that lead to the whole program."""

_MACHINERY = frozenset(
    {"radical", "asyncio", "_asyncio", "concurrent", "threading", "distributed", "dask", "tornado"}
)
"""The packages whose objects (engines, tasks, loops, threads, clients) lead to all tasks."""


class Hidden(NamedTuple):
    """A future inside of an argument, and its place, such as ``"Setup.steps[2]"``."""

    future: Any
    place: str

    @property
    def title(self) -> str:
        """The future in words."""
        if isinstance(self.future, ItemOf):
            return f"an item of the result of task {self.future._future.name!r}"
        if is_dask_future(type(self.future)):
            return f"the Dask future {self.future.key!r}"
        return f"the future of task {self.future.name!r}"


def find_hidden(argument: Any) -> Hidden | None:
    """Return the first future that is found inside of *argument*, an object; None without one."""
    if not _may_be_entered(argument):
        return None
    # Every object that was met, by its id, and the one that holds it.
    met: dict[int, tuple[Any, Any]] = {id(argument): (argument, None)}
    waiting = deque([argument])
    while waiting:
        holder = waiting.popleft()
        for member in _members(holder):
            if type(member) in ATOMS or id(member) in met:
                continue
            if issubclass(type(member), (Node, ItemOf)) or is_dask_future(type(member)):
                way = [member]
                while holder is not None:
                    way.append(holder)
                    holder = met[id(holder)][1]
                return Hidden(member, _place(way[::-1]))
            if len(met) < MOST_OBJECTS and _may_be_entered(member):
                met[id(member)] = member, holder
                waiting.append(member)
    return None


def is_dask_future(kind: type) -> bool:
    """Tell whether *kind* is that of the futures of a Dask client."""
    return kind.__name__ == "Future" and kind.__module__ == "distributed.client"


def _may_be_entered(value: Any) -> bool:
    kind = type(value)  # isinstance() may run code of the object
    if not is_tracked(value):  # the collector knows that it holds nothing of interest
        return _is_object_array(value, kind)
    return not issubclass(kind, _CLOSED) and (
        str(kind.__module__).partition(".")[0] not in _MACHINERY
    )


def _members(value: Any) -> list[Any]:
    """Return the objects that *value* holds itself; of a large container only some."""
    kind = type(value)
    if issubclass(kind, dict) and dict.__len__(value) > MOST_OBJECTS:
        return list(islice(chain(dict.values(value), dict.keys(value)), MOST_OBJECTS))
    for base in (list, tuple, set, frozenset, deque):
        if issubclass(kind, base) and base.__len__(value) > MOST_OBJECTS:
            return list(islice(base.__iter__(value), MOST_OBJECTS))
    if _is_object_array(value, kind):
        return list(islice(value.flat, MOST_OBJECTS))
    return get_referents(value)


def _is_object_array(value: Any, kind: type) -> bool:
    """Tell whether *value* is an array of objects, of which numpy tells the collector nothing."""
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray" and value.dtype.hasobject


def _place(way: list[Any]) -> str:
    """Return the words for the last object of *way*, in which each holds the next one."""
    text = type(way[0]).__name__
    attributes: Any = None  # the dict of the attributes of the object before
    for holder, member in pairwise(way):
        if member is _attributes(holder):
            attributes = member
            continue
        labels = _labels(holder, "." if holder is attributes else "")
        text += next((label for label, each in labels if each is member), "")
    return text


def _labels(holder: Any, dot: str) -> Iterator[tuple[str, Any]]:
    """Yield how each object that *holder* holds is written behind its name."""
    if type(holder) is dict:
        for key, each in holder.items():
            if type(key) in ATOMS:
                yield f"{dot}{key}" if dot else f"[{key!r}]", each
    elif type(holder) in (list, tuple):
        for index, each in enumerate(holder):
            yield f"[{index}]", each
    else:
        for key, each in (_attributes(holder) or {}).items():
            yield f".{key}", each
        for key, slot in chain.from_iterable(vars(base).items() for base in type(holder).__mro__):
            if type(slot) is MemberDescriptorType:
                with suppress(AttributeError):  # it has no value
                    yield f".{key}", slot.__get__(holder)


def _attributes(value: Any) -> dict[str, Any] | None:
    try:
        attributes: dict[str, Any] = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return attributes
