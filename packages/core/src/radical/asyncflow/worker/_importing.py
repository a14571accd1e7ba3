"""Tell what a worker can import, and what therefore has to be sent to it.

A function is sent by value if a worker could not import it: it is defined in
``__main__``, inside another function, or in a module that exists in this process
alone (a test module, a notebook, one made by ``exec``).
"""

from __future__ import annotations

import contextlib
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any

from .._public import public

__all__ = ["by_value", "import_path", "is_importable"]

_registering = threading.Lock()


@public("radical.asyncflow.worker")
def import_path() -> list[str]:
    """Return ``sys.path`` as a worker can have it: the entries that are text."""
    return [entry for entry in sys.path if isinstance(entry, str)]


@public("radical.asyncflow.worker")
@contextlib.contextmanager
def by_value(function: Any) -> Iterator[None]:
    """Have cloudpickle copy what belongs to the module of *function*, if a worker lacks that."""
    name = getattr(function, "__module__", None)
    module = sys.modules.get(name) if name else None
    if module is None or name == "__main__" or is_importable(module):
        yield
        return
    import cloudpickle  # type: ignore[import-untyped]

    with _registering:
        mine = module.__name__ not in cloudpickle.list_registry_pickle_by_value()
        if mine:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            if mine:
                cloudpickle.unregister_pickle_by_value(module)


_known: weakref.WeakKeyDictionary[types.ModuleType, tuple[tuple[str, ...], bool]] = (
    weakref.WeakKeyDictionary()
)
"""The import path by module, and whether the module was found there."""


def is_importable(module: types.ModuleType) -> bool:
    """Return whether a fresh interpreter with this ``sys.path`` would find *module*."""
    path = tuple(sys.path)
    known = _known.get(module)
    if known is None or known[0] != path:
        known = _known[module] = path, _find(module)
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
