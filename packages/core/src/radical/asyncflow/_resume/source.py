"""Hash the code of a function: two functions with the same hash do the same.

The hash covers the function's source without comments, layout and decorators, and the defaults
of its parameters.  It also covers what the body takes from its surroundings, as far as that
can be known: constants, and the source of functions and classes of the same module.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import inspect
import os
import textwrap
import time
import types
from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import PurePath
from typing import Any

from .._reference import looked_up_names

__all__ = ["source_hash"]

PLAIN_TYPES = (bool, int, float, complex, str, bytes, type(None), enum.Enum, PurePath)

PROCESS_STARTED = time.time()
"""The time of this process's start; a file that was changed later may not be what it runs."""

Feed = Callable[[Any], bytes]


def source_hash(function: Callable[..., Any], content: Feed) -> str:
    """Return the hash of *function*, 32 hexadecimal digits.

    Args:
        content: returns the hash of a value, such as a default or an argument of a partial.

    Raises:
        TypeError: the function's code cannot be read, or *content* raised it for a value.
    """
    digest = blake2b(digest_size=16)
    for part in _parts(function, content, set()):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _parts(function: Any, content: Feed, seen: set[int]) -> Iterator[bytes]:
    seen.add(id(function))
    if isinstance(function, functools.partial):
        yield content((function.args, function.keywords))
        yield from _parts(function.func, content, seen)
    elif isinstance(function, types.MethodType):
        yield content(function.__self__)
        yield from _parts(function.__func__, content, seen)
    elif isinstance(function, types.FunctionType):
        yield _text(function)
        yield content((function.__defaults__, function.__kwdefaults__))
        yield from _surroundings(function, content, seen)
        wrapped = getattr(function, "__wrapped__", None)
        if isinstance(wrapped, types.FunctionType) and id(wrapped) not in seen:
            yield from _parts(wrapped, content, seen)
    elif isinstance(function, type):
        yield _name(function)
        if function.__module__ == "__main__":
            yield from _members(function, content, seen)
    elif inspect.isbuiltin(function):
        yield _name(function)
        if not isinstance(owner := function.__self__, types.ModuleType | type(None)):
            yield content(owner)
    elif isinstance(call := getattr(type(function), "__call__", None), types.FunctionType):  # noqa: B004 - its code is wanted
        yield content(function)
        yield from _parts(call, content, seen)
    else:
        raise TypeError(f"the source of {function!r} cannot be read")


def _name(function: Any) -> bytes:
    return f"{function.__module__}.{function.__qualname__}".encode()


def _members(kind: type, content: Feed, seen: set[int]) -> Iterator[bytes]:
    """Yield the code and the constants of a class, and of its bases in the same module."""
    seen.add(id(kind))
    for name, member in sorted(vars(kind).items()):
        inner = getattr(member, "__func__", getattr(member, "fget", member))
        if isinstance(inner, types.FunctionType):
            if inner.__module__ == kind.__module__ and id(inner) not in seen:
                yield name.encode()
                yield from _parts(inner, content, seen)
        elif not name.startswith("__") and _constant(member):
            yield name.encode()
            yield content(member)
    for base in kind.__bases__:
        if base.__module__ == kind.__module__ and id(base) not in seen:
            yield _name(base)
            yield from _members(base, content, seen)


def _text(function: types.FunctionType) -> bytes:
    code = function.__code__
    return _text_of(code, code.co_filename)


@lru_cache(maxsize=4096)  # a task that is defined in a block is defined often
def _text_of(code: types.CodeType, file: str) -> bytes:
    """Return the function's source as `ast.unparse` writes it, or else its bytecode."""
    if code.co_name != "<lambda>" and not _edited(file):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
        except (OSError, SyntaxError, TypeError):
            tree = None  # from stdin, or from exec
        if tree is not None and isinstance(
            definition := tree.body[0], ast.FunctionDef | ast.AsyncFunctionDef
        ):
            definition.decorator_list = []
            return ast.unparse(definition).encode("utf-8", "surrogatepass")
    return b"".join(_bytecode(code))


def _edited(file: str) -> bool:
    """Tell whether *file* was written after this process started."""
    try:
        return os.stat(file).st_mtime > PROCESS_STARTED  # noqa: PTH116 - it may be no path at all
    except (OSError, ValueError):
        return False


def _bytecode(code: types.CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield code.co_exceptiontable
    yield repr((code.co_names, code.co_varnames, code.co_freevars)).encode()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _bytecode(constant)
        elif isinstance(constant, frozenset):  # its order differs from process to process
            yield repr(sorted(map(repr, constant))).encode()
        else:
            yield repr(constant).encode()


def _surroundings(function: types.FunctionType, content: Feed, seen: set[int]) -> Iterator[bytes]:
    """Yield what the body takes from closures and its module, if that can be compared."""
    for name, value in sorted(_free(function), key=lambda item: item[0]):
        if isinstance(value, types.FunctionType | type):
            if value.__module__ == function.__module__ and id(value) not in seen:
                yield name.encode()
                if isinstance(value, type):
                    yield from _members(value, content, seen)
                else:
                    yield from _parts(value, content, seen)
        elif _constant(value):
            yield name.encode()
            yield content(value)


def _constant(value: Any) -> bool:
    """Tell whether *value* is plain, or a collection of plain values."""
    if isinstance(value, PLAIN_TYPES):
        return True
    if isinstance(value, tuple | list | set | frozenset):
        return all(map(_constant, value))
    if isinstance(value, dict):
        return all(map(_constant, value)) and all(map(_constant, value.values()))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return all(_constant(getattr(value, field.name, None)) for field in fields)
    dtype = getattr(value, "dtype", None)
    return type(value).__module__ == "numpy" and dtype is not None and not dtype.hasobject


def _free(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not bound yet
            continue
    around = function.__globals__
    for name in set(looked_up_names(code)):
        if name in around:
            yield name, around[name]
