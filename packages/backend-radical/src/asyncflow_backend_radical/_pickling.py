"""Functions, arguments and results as bytes that another interpreter can read."""

from __future__ import annotations

import pickle
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
from radical.asyncflow.errors import SerializationError

__all__ = ["dump_call", "dump_result", "reason"]

_registering = threading.Lock()


def dump_call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
    """The function and its arguments, apart, so that an error can say which it was.

    Raises:
        SerializationError: one of them cannot be pickled.
    """
    with _by_value(getattr(function, "__module__", None)):
        try:
            code: bytes = cloudpickle.dumps(function, protocol=5)
        except BaseException as exc:  # whatever a captured object's __reduce__ raises
            raise SerializationError("function", reason(exc)) from exc
        try:
            values: bytes = cloudpickle.dumps((args, kwargs), protocol=5)
        except BaseException as exc:  # foreign code
            raise SerializationError("arguments", reason(exc)) from exc
    return code, values


def dump_result(value: Any) -> bytes:
    """*value* as bytes; raises whatever the value's own methods raise."""
    try:
        return pickle.dumps(value, 5)
    except Exception:  # cloudpickle can do more, and says better what it cannot
        pickled: bytes = cloudpickle.dumps(value, protocol=5)
        return pickled


def reason(exc: BaseException) -> str:
    """What *exc* says, whatever its methods do."""
    try:
        return f"{type(exc).__name__}: {exc}"
    except BaseException:  # foreign code
        return type(exc).__name__


@contextmanager
def _by_value(name: str | None) -> Iterator[None]:
    """While this is open, module *name* is copied if a fresh interpreter could not import it."""
    module = sys.modules.get(name) if name and name != "__main__" else None
    if module is None or _importable(module):
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


def _importable(module: types.ModuleType) -> bool:
    """Whether the finders of this interpreter, asked anew, come to the same file."""
    file = getattr(module, "__file__", None)
    if file is None:
        return True  # built in, or a namespace
    path: Any = None
    spec = None
    parts = module.__name__.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
        specs = (find(name, path) for find in finders if find is not None)
        spec = next((found for found in specs if found is not None), None)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return spec is not None and spec.origin in (file, "frozen")
