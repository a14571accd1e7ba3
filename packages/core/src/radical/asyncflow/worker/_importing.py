"""Tell what a worker can import, and what therefore has to be sent to it.

A function is sent by value if a worker could not import it: it is defined in
``__main__``, inside another function, or in a module that exists in this process
alone (a test module, a notebook, one made by ``exec``).
"""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any

from .._public import public
from .._reference import import_path

__all__ = ["by_value", "import_path", "is_importable", "program_arguments", "reloaded", "reloads"]

_registering = threading.Lock()

public("radical.asyncflow.worker")(import_path)  # a leaf, because imports by name need it, too


@public("radical.asyncflow.worker")
def program_arguments() -> list[str]:
    """Return ``sys.argv`` as a worker can have it: as text, and empty where there is none."""
    return [
        os.fsdecode(word) if isinstance(word, str | bytes | os.PathLike) else str(word)
        for word in getattr(sys, "argv", ())
    ]


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


class _Loads:
    """The modules of the program's own, and which of them were loaded anew, in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._specs: dict[str, Any] = {}
        self._modules = 0  # how many there were at the last survey
        self._reloaded: list[str] = []

    def look(self) -> list[str]:
        with self._lock:
            if len(sys.modules) != self._modules:
                self._survey()
            for name, spec in self._specs.items():
                module = sys.modules.get(name)
                # `importlib.reload` gives a module another specification.
                if module is not None and (new := getattr(module, "__spec__", None)) is not spec:
                    self._specs[name] = new
                    self._reloaded.append(name)
            return self._reloaded

    def _survey(self) -> None:
        modules = dict(sys.modules)
        self._modules = len(modules)
        for name, module in modules.items():
            if name not in self._specs and name != "__main__":
                file = getattr(module, "__file__", None)
                if isinstance(file, str) and not file.startswith(_INSTALLED):
                    self._specs[name] = getattr(module, "__spec__", None)


_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_loads = _Loads()


@public("radical.asyncflow.worker")
def reloads() -> int:
    """Return how often a module of the program's own was loaded anew, as far as was seen.

    `importlib.reload` does that, and so does IPython's ``%autoreload``.  A worker that was
    started before has the old code, and keeps it.
    """
    return len(_loads.look())


@public("radical.asyncflow.worker")
def reloaded() -> tuple[str, ...]:
    """Return the names of the modules that `reloads` counts, one for each time, in order."""
    return tuple(_loads.look())
