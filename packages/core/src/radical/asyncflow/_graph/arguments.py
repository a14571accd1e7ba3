"""One walk through a call's arguments, used twice: to find futures and to replace them.

`rewrite` visits every leaf of nested lists, tuples, dicts and sets.  A visitor that
returns each leaf unchanged only looks (nothing is copied then); one that returns
something else replaces.  Containers are rebuilt only where a leaf was replaced, so
an argument without futures reaches the task as the very object that was passed.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from operator import is_
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any

from ..errors import ConfigurationError

__all__ = ["ATOMS", "FLAT", "NESTED", "PLAIN", "rewrite", "rewrite_call"]

PLAIN, FLAT, NESTED = 0, 1, 2
"""Where a call's futures stand: nowhere, as arguments themselves, inside of arguments."""

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
"""Types that cannot hold a future, told apart by identity: one set lookup an argument."""

Visitor = Callable[[Any], Any]


def rewrite(value: Any, visit: Visitor) -> Any:
    """*value* with every leaf replaced by ``visit(leaf)``; *value* itself if none changed.

    Only the exact built-in containers are entered, and named tuples and those of
    `collections`: another subclass may have invariants that a copy would break.  A
    container inside itself is left alone; one that stands in several places is entered
    once, and stays one.
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
    """`rewrite` for positional and keyword arguments."""
    return rewrite(args, visit), rewrite(kwargs, visit) if kwargs else kwargs


def _rewrite(value: Any, visit: Visitor, seen: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in ATOMS:
        return value
    if kind in _MAPPINGS:
        members = (*value.keys(), *value.values())
    elif kind in _PLAIN or (isinstance(value, tuple) and hasattr(kind, "_fields")):
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
        copy = value.copy()  # which knows its default
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
