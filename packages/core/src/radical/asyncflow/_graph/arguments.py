"""Walk through a call's arguments, to find futures and to replace them.

`rewrite` visits every leaf of nested lists, tuples, dicts and sets.  A visitor that returns
each leaf unchanged only looks at it, and nothing is copied; a visitor that returns another
object replaces the leaf by it.  A container is rebuilt only if a leaf in it was replaced, so
an argument without futures reaches the task as the very object that was passed.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from operator import is_
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any

from ..errors import ConfigurationError

__all__ = ["ATOMS", "FLAT", "LEAVES", "NESTED", "PLAIN", "rewrite", "rewrite_call"]

PLAIN, FLAT, NESTED = 0, 1, 2
"""The places of a call's futures (none; as arguments themselves; inside of arguments)."""

ATOMS: frozenset[type] = frozenset(
    {
        NoneType,
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        bytearray,
        range,
        slice,
        type,
        FunctionType,
        BuiltinFunctionType,
    }
)
"""Types that cannot hold a future; exact types, so that one lookup an argument is enough."""

LEAVES: set[type] = set()
"""Types of named tuples that are leaves; whoever wants to visit them adds them."""

Visitor = Callable[[Any], Any]


def rewrite(value: Any, visit: Visitor) -> Any:
    """Replace every leaf of *value* by ``visit(leaf)``; return *value* itself if none changed.

    The walk enters only the exact built-in containers, named tuples and the containers of
    `collections`, because other subclasses may have invariants that a copy would break.  It
    leaves a container inside itself alone.  A container that occurs in several places is
    entered once and remains one object.
    """
    try:
        return _rewrite(value, visit, {})
    except RecursionError:
        raise ConfigurationError(
            "an argument is nested too deeply to be searched for futures; "
            "pass the futures in a flat list"
        ) from None


def rewrite_call(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], visit: Visitor
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Do the same as `rewrite` for positional and keyword arguments."""
    return rewrite(args, visit), rewrite(kwargs, visit) if kwargs else kwargs


def _rewrite(value: Any, visit: Visitor, seen: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in ATOMS:
        return value
    if kind in _MAPPINGS:
        members = (*value.keys(), *value.values())
    elif kind in _PLAIN or (
        isinstance(value, tuple) and hasattr(kind, "_fields") and kind not in LEAVES
    ):
        members = tuple(value)
    else:
        return visit(value)
    # issuperset(map(type, ...)) runs in C: a list of a million numbers costs 20 ns each.
    if ATOMS.issuperset(map(type, members)):
        return value
    if id(value) in seen:
        return seen[id(value)]
    seen[id(value)] = value
    new = [_rewrite(member, visit, seen) for member in members]
    if all(map(is_, members, new)):
        return value
    if kind in _MAPPINGS:
        half = len(new) // 2
        copy = value.copy()  # keeps the default of a defaultdict
        copy.clear()
        copy.update(zip(new[:half], new[half:], strict=True))
    elif kind is deque:
        copy = deque(new, value.maxlen)
    else:
        copy = kind(new) if kind in _PLAIN else kind(*new)
    seen[id(value)] = copy
    return copy


_MAPPINGS = frozenset({dict, defaultdict, OrderedDict})
_PLAIN = frozenset({list, tuple, set, frozenset, deque})
