"""Decide whether two calls, and two functions, are the same.

A function counts with all that it can reach, an argument with its content and the code of its
class.  What cannot be compared this way is never reused; there is never a wrong match.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Mapping
from time import perf_counter
from typing import Any, NamedTuple

from .._text import safe_str
from .codes import CodeWalk
from .values import TEXTUAL, Leaf, Unidentified, ValueWalk
from .watches import Watches

__all__ = ["Calls", "Description", "Descriptions", "Unidentified", "content", "is_large"]

LARGE_BYTES = 1 << 20
"""The number of bytes beyond which an argument is read in a thread."""

_NUMBERS = frozenset({bool, int, float, type(None)})

KNOWN_AT_MOST = 4096

LONG_CHECK_S = 0.005
PAUSE = 20
"""How many times as long as a long check took it is not repeated when tasks end."""


class _Default:
    """The mark that stands for a default in a call, which the function's own hash has."""

    def __repr__(self) -> str:
        return "<default>"


_DEFAULT = _Default()
_PLAIN = TEXTUAL | {_Default}


class Description(NamedTuple):
    """The hash of a function and of all that it can reach.

    Attributes:
        digest: its hash; empty if it has none.
        why: why it has none, or None.
        watches: what must stay as it is for this to hold.
        parts: see `CodeWalk`.
    """

    digest: bytes
    why: str | None
    watches: Watches | None
    parts: Mapping[str, str] = {}


class Descriptions:
    """The descriptions of functions and classes, made again when something that they reach changes.

    Between two calls of `look_again` nothing is looked at twice.

    Args:
        ignored: the distributions whose versions do not count; True for all.
    """

    def __init__(self, ignored: Collection[str] | bool = False) -> None:
        self._ignored = ignored
        self._known: dict[int, tuple[Any, Description]] = {}
        self._fresh: set[int] = set()
        self._next_check: dict[int, float] = {}
        self._changed: dict[int, str] = {}

    def look_again(self) -> None:
        """Let what is asked for next be compared with how it is then."""
        if self._fresh:
            self._fresh.clear()

    def describe(self, value: Any) -> Description:
        """Return the description of *value* as it is now; the same one as before if that holds."""
        known = self._known.get(id(value))
        if known is not None and (id(value) in self._fresh or self._holds(known[1])):
            self._fresh.add(id(value))
            return known[1]
        made = self._make(value)
        if known is not None and _is_same(known[1], made):
            made = known[1]._replace(watches=made.watches)
        if len(self._known) >= KNOWN_AT_MOST:
            self._known.clear()
            self._fresh.clear()
            self._next_check.clear()
            self._changed.clear()
        self._changed.pop(id(value), None)
        self._known[id(value)] = value, made
        self._fresh.add(id(value))
        return made

    def changed(self, value: Any) -> str | None:
        """Return what has changed since *value* was described, as `Watches.changed` says it.

        Where that takes long, because a large global has to be read, it is not done each time.
        """
        known = self._known.get(id(value))
        if known is None or known[1].watches is None or id(value) in self._fresh:
            return None
        began = perf_counter()
        if began < self._next_check.get(id(value), 0.0):
            return None
        changed = known[1].watches.changed(computed=False)
        if (
            changed is not None
            and known[1].watches.changed(computed=False, installed=False) is None
        ):
            changed = self._changed_installed(value, known[1], changed)
        ended = perf_counter()
        if ended - began > LONG_CHECK_S:
            self._next_check[id(value)] = ended + PAUSE * (ended - began)
        if changed is None:
            self._fresh.add(id(value))
        return changed

    def _changed_installed(self, value: Any, known: Description, changed: str) -> str | None:
        """Return *changed* if *value* has another description now, else watch what is there now.

        This is done once: the tasks that end until it is described again end alike.
        """
        if id(value) not in self._changed:
            made = self._make(value)
            if _is_same(known, made):
                self._known[id(value)] = value, known._replace(watches=made.watches)
                return None
            self._changed[id(value)] = changed
        return self._changed[id(value)]

    def content(self, value: Any, leaf: Leaf | None = None) -> bytes:
        """Return the hash of *value*, an argument, and of the code of its class.

        Raises:
            Unidentified: it cannot be compared.
        """
        return _guarded(lambda: _Arguments(self, leaf).content(value))

    def _holds(self, known: Description) -> bool:
        try:
            return known.watches is not None and known.watches.changed() is None
        except Exception:  # raised by a class of the user's: it is described again
            return False

    def _make(self, value: Any) -> Description:
        walk = CodeWalk(self._ignored)
        try:
            digest = _guarded(lambda: walk.describe(value))
            return Description(digest, None, walk.watches, walk.parts)
        except Unidentified as reason:
            return Description(b"", str(reason), None)


def _is_same(one: Description, other: Description) -> bool:
    """Tell whether two descriptions of one thing have the same hash."""
    return one.why is None and other.why is None and one.digest == other.digest


class _Arguments(ValueWalk):
    """A walk through arguments, which takes code as it was described before."""

    def __init__(self, descriptions: Descriptions, leaf: Leaf | None) -> None:
        super().__init__(leaf)
        self._descriptions = descriptions

    def reference(self, value: Any) -> bytes:
        description = self._descriptions.describe(value)
        if description.why is not None:
            raise Unidentified(description.why)
        return description.digest


def content(value: Any, leaf: Leaf | None = None) -> bytes:
    """Return the hash of *value* and of all code that it can reach.

    Raises:
        Unidentified: something of it cannot be compared.
    """
    return _guarded(lambda: CodeWalk(leaf=leaf).describe(value))


def _guarded(walk: Callable[[], bytes]) -> bytes:
    try:
        return walk()
    except RecursionError:
        raise Unidentified("an argument is nested too deeply") from None
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:  # such as a SystemExit that a class of the arguments raised
        raise Unidentified(f"an argument cannot be read: {safe_str(error)}") from error


class Calls:
    """The calls of one function: written in whatever way, equal ones have equal arguments."""

    def __init__(self, function: Any) -> None:
        self._method = isinstance(function, types.MethodType)
        inner = function.__func__ if isinstance(function, types.MethodType) else function
        self._names: tuple[str, ...] = ()
        self._only_names: frozenset[str] = frozenset()
        self._defaults: dict[str, Any] = {}
        self._arity = -1
        if isinstance(inner, types.FunctionType) and "__signature__" not in inner.__dict__:
            self._read(inner)

    def _read(self, function: types.FunctionType) -> None:
        code = function.__code__
        names = code.co_varnames[: code.co_argcount]
        defaults = function.__defaults__ or ()
        self._defaults = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
        only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        self._only_names = frozenset(only)
        self._defaults |= function.__kwdefaults__ or {}
        first = 1 if self._method else 0
        self._names = names[first:]
        self._positional = max(code.co_posonlyargcount - first, 0)
        self._arity = len(self._names) if not only else -1

    def arrange(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return the arguments as they are when all that can be is given by position.

        Parameters that are not given are filled in with a mark for their default.
        """
        names = self._names
        if len(args) == self._arity and not kwargs:
            if not self._defaults:
                return args, kwargs
        elif len(args) < len(names) or self._only_names:
            args, kwargs = self._filled(args, dict(kwargs))
        if self._defaults:
            args = tuple(
                self._marked(names[place], value) if place < len(names) else value
                for place, value in enumerate(args)
            )
            if kwargs:
                kwargs = {name: self._marked(name, value) for name, value in kwargs.items()}
        return args, kwargs

    def _filled(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        filled = list(args)
        for place in range(len(args), len(self._names)):
            name = self._names[place]
            if place >= self._positional and name in kwargs:
                filled.append(kwargs.pop(name))
            elif name in self._defaults:
                filled.append(_DEFAULT)
            else:  # the call is wrong, and says so when it is made
                break
        for name in self._only_names:
            if name in self._defaults and name not in kwargs:
                kwargs[name] = _DEFAULT
        return tuple(filled), kwargs

    def _marked(self, name: str, value: Any) -> Any:
        """Return the mark of a default if *value* is that of the parameter *name*."""
        default = self._defaults.get(name, _DEFAULT)
        if value is default or (
            type(value) is type(default) and type(value) in TEXTUAL and repr(value) == repr(default)
        ):
            return _DEFAULT
        return value

    def plain(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes | None:
        """Return bytes that stand for arguments which are all plain values, else None."""
        if not _PLAIN.issuperset(map(type, args)):
            return None
        try:
            if not kwargs:
                return repr(args).encode("utf-8", "surrogatepass")
            if not _PLAIN.issuperset(map(type, kwargs.values())):
                return None
            return repr((args, sorted(kwargs.items()))).encode("utf-8", "surrogatepass")
        except ValueError:  # an integer with more digits than `str` may write
            return None


def default_content(value: Any) -> bytes | None:
    """Return what stands for the mark of a default; None for any other value."""
    return b"default" if value is _DEFAULT else None


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
