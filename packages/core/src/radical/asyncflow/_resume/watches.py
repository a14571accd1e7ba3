"""Watch what a description was made from, so that it holds until something of it changes."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable
from itertools import chain
from operator import is_
from typing import Any

__all__ = ["MISSING", "Watches"]


class _Missing:
    """The value of a name that is not there."""


MISSING = _Missing()


class Watches:
    """The things that one description depends on, as they were when it was made.

    Names, functions and classes are compared by identity; the content of what can be changed
    in place is compared by a fingerprint.

    Args:
        fingerprint: returns bytes that differ if the content of a value differs, in this
            process, and whether it holds values of cached properties; its second argument
            says whether those count.
    """

    def __init__(self, fingerprint: Callable[[Any, bool], tuple[bytes, bool]]) -> None:
        self._fingerprint = fingerprint
        self._names: dict[int, tuple[str, dict[str, Any], list[str], list[Any]]] = {}
        self._functions: list[tuple[types.FunctionType, Any, Any, Any, int]] = []
        self._classes: list[tuple[type, tuple[Any, ...], tuple[Any, ...]]] = []
        self._cells: list[tuple[str, types.CellType, Any]] = []
        self._values: dict[int, tuple[str, Any, bytes, bytes]] = {}
        self._absent: list[str] = []
        self._absent_names: list[tuple[str, dict[str, Any], str]] = []
        self._methods: list[tuple[type, tuple[Any, ...], tuple[types.FunctionType, ...]]] = []
        self._files: list[tuple[str, tuple[int, int, int]]] = []
        self._kept: list[Any] = []
        self._sizes: list[tuple[str, dict[str, Any], int]] = []

    def name(self, where: str, around: dict[str, Any], name: str, value: Any) -> None:
        """Watch the *name* in the dict *around*; *value* is `MISSING` if it is not there."""
        entry = self._names.setdefault(id(around), (where, around, [], []))
        entry[2].append(name)
        entry[3].append(value)

    def size(self, where: str, around: dict[str, Any]) -> None:
        """Watch whether names are added to *around*."""
        self._sizes.append((where, around, len(around)))

    def function(self, function: types.FunctionType) -> None:
        """Watch the code, the defaults and the attributes of *function*."""
        parts = function.__code__, function.__defaults__, function.__kwdefaults__
        self._functions.append((function, *parts, len(function.__dict__)))

    def members(self, kind: type) -> None:
        """Watch the members and the bases of a class."""
        self._classes.append((kind, kind.__bases__, tuple(vars(kind).values())))

    def cell(self, name: str, cell: types.CellType) -> None:
        """Watch the variable *name* of a closure."""
        self._cells.append((name, cell, _in_cell(cell)))

    def value(self, where: str, value: Any) -> None:
        """Watch the content of *value*."""
        if id(value) not in self._values:
            full, computed = self._fingerprint(value, True)
            rest = self._fingerprint(value, False)[0] if computed else full
            self._values[id(value)] = where, value, full, rest

    def absent(self, module: str) -> None:
        """Watch whether *module* is imported."""
        self._absent.append(module)

    def absent_name(self, where: str, around: dict[str, Any], name: str) -> None:
        """Watch whether an import puts *name* into *around*, the names of an installed module."""
        self._absent_names.append((where, around, name))

    def methods(self, kind: type) -> None:
        """Watch whether functions of an installed class are replaced."""
        members = tuple(value for each in kind.__mro__ for value in vars(each).values())
        self._methods.append((kind, members, _methods_of(kind)))

    def file(self, path: str) -> None:
        """Watch the size and the time of a file."""
        self._files.append((path, _stat(path)))

    def keep(self, value: Any) -> None:
        """Keep *value* alive, so that no other object gets its identity."""
        self._kept.append(value)

    def changed(self, *, computed: bool = True, installed: bool = True) -> str | None:
        """Return what has changed, such as "LIMIT changed"; None if nothing has.

        Args:
            computed: whether it counts that a cached property has stored its value.
            installed: whether it counts that a module was imported, or that something in an
                installed one changed; a new description tells whether that matters.
        """
        for function, code, defaults, kwdefaults, size in self._functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not kwdefaults
                or len(function.__dict__) != size
            ):
                return f"{function.__qualname__}() changed"
        for where, around, names, values in self._names.values():
            now = map(around.get, names, (MISSING,) * len(names))
            if not all(map(is_, now, values)):
                return next(
                    f"{where}{name} changed"
                    for name, value in zip(names, values, strict=True)
                    if around.get(name, MISSING) is not value
                )
        for kind, bases, members in self._classes:
            present = tuple(vars(kind).values())
            if (
                kind.__bases__ is not bases
                or len(present) != len(members)
                or not all(map(is_, present, members))
            ):
                return f"the class {kind.__qualname__} changed"
        changed = self._changed_content(computed)
        return self._changed_installed() if changed is None and installed else changed

    def _changed_installed(self) -> str | None:
        for module in self._absent:
            if sys.modules.get(module) is not None:
                return f"the module {module} was imported"
        for where, around, name in self._absent_names:
            if name in around:
                return f"{where} was imported"
        for place, (kind, members, methods) in enumerate(self._methods):
            found = (vars(each).values() for each in kind.__mro__)
            if all(map(is_, chain.from_iterable(found), members)):
                continue  # by far the most frequent, and much quicker than what follows
            if not _are(_methods_of(kind), methods):
                return f"the class {kind.__qualname__} changed"
            present = tuple(value for each in kind.__mro__ for value in vars(each).values())
            self._methods[place] = kind, present, methods
        return None

    def _changed_content(self, computed: bool) -> str | None:
        for name, cell, value in self._cells:
            if _in_cell(cell) is not value:
                return f"{name} changed"
        for where, around, size in self._sizes:
            if len(around) != size:
                return f"{where} changed"
        for path, stat in self._files:
            if _stat(path) != stat:
                return f"{path} changed"
        for where, value, full, rest in self._values.values():
            if self._fingerprint(value, computed)[0] != (full if computed else rest):
                return f"{where} changed"
        return None


def _methods_of(kind: type) -> tuple[types.FunctionType, ...]:
    members = (member for each in kind.__mro__ for member in vars(each).values())
    return tuple(member for member in members if type(member) is types.FunctionType)


def _are(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return len(one) == len(other) and all(map(is_, one, other))


def _in_cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return MISSING


def _stat(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - it is asked for often
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns
