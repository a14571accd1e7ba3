"""What a function's code is, as a hash: two functions with one hash do the same.

The hash covers the function's own source without comments, layout and decorators, the
defaults of its parameters, and what the body takes from around it as far as that can be
said: plain values, and other functions of the same module, by their source.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

__all__ = ["source_hash"]

PLAIN = (bool, int, float, complex, str, bytes, type(None))

Feed = Callable[[Any], bytes]


def source_hash(function: Callable[..., Any], content: Feed) -> str:
    """The hash of *function*, 32 hexadecimal digits.

    Args:
        content: gives the hash of a value, such as a default or an argument of a partial.

    Raises:
        TypeError: the function's code cannot be had, or *content* raised it for a value.
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
        wrapped = getattr(function, "__wrapped__", None)
        yield _text(function)
        yield content((function.__defaults__, function.__kwdefaults__))
        yield from _surroundings(function, content, seen)
        if isinstance(wrapped, types.FunctionType) and id(wrapped) not in seen:
            yield from _parts(wrapped, content, seen)
    elif isinstance(function, type) or inspect.isbuiltin(function):
        yield f"{function.__module__}.{function.__qualname__}".encode()
    elif isinstance(call := getattr(type(function), "__call__", None), types.FunctionType):  # noqa: B004 - its code is wanted
        yield content(function)
        yield from _parts(call, content, seen)
    else:
        raise TypeError(f"the source of {function!r} cannot be had")


def _text(function: types.FunctionType) -> bytes:
    """The function's source as Python itself would write it, or its bytecode."""
    if function.__name__ != "<lambda>":
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, SyntaxError, TypeError):
            tree = None  # from stdin, from exec, or no longer what was imported
        if tree is not None and isinstance(
            definition := tree.body[0], ast.FunctionDef | ast.AsyncFunctionDef
        ):
            definition.decorator_list = []
            return ast.unparse(definition).encode("utf-8", "surrogatepass")
    return b"".join(_bytecode(function.__code__))


def _bytecode(code: types.CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr((code.co_names, code.co_varnames, code.co_freevars)).encode()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _bytecode(constant)
        elif isinstance(constant, frozenset):  # its order is another in each process
            yield repr(sorted(map(repr, constant))).encode()
        else:
            yield repr(constant).encode()


def _surroundings(function: types.FunctionType, content: Feed, seen: set[int]) -> Iterator[bytes]:
    """What the body takes from closures and from its module, where that can be compared."""
    for name, value in sorted(_free(function), key=lambda item: item[0]):
        if isinstance(value, PLAIN) or (
            type(value) is tuple and all(isinstance(item, PLAIN) for item in value)
        ):
            yield name.encode()
            yield content(value)
        elif (
            isinstance(value, types.FunctionType)
            and value.__module__ == function.__module__
            and id(value) not in seen
        ):
            yield name.encode()
            yield from _parts(value, content, seen)


def _free(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not bound yet
            continue
    around = function.__globals__
    for name in set(_names(code)):
        if name in around:
            yield name, around[name]


def _names(code: types.CodeType) -> Iterator[str]:
    """Names that *code*, or code inside of it, looks up in the module (or as attributes)."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
