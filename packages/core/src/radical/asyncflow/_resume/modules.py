"""Hash modules that are not imported yet, because the function that needs them imports them.

They are read, never imported: an import runs code, which belongs where the task runs.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from hashlib import blake2b
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from pathlib import Path
from typing import NamedTuple

from .distributions import PYTHON, Home, home_of_file
from .values import Unidentified

__all__ = ["ModuleFile", "absolute_name", "extension_hash", "find_module", "read_module"]


class ModuleFile(NamedTuple):
    """A module as its file has it.

    Attributes:
        home: its distribution; None if it is the user's own.
        path: its file; "" for a folder without one.
        is_package: whether it is a folder with an ``__init__``.
    """

    name: str
    home: Home | None
    path: str
    is_package: bool


def absolute_name(name: str, level: int, package: str | None) -> str:
    """Return the full name of a module that an import names with *level* dots."""
    if not level:
        return name
    try:
        return importlib.util.resolve_name("." * level + name, package)
    except ImportError as error:
        raise Unidentified(f"the import of {'.' * level + name}: {error}") from error


def find_module(name: str) -> ModuleFile | None:
    """Find the module *name* without importing anything; None if there is none.

    Raises:
        Unidentified: it is found in a way that cannot be followed.
    """
    top, *rest = name.split(".")
    if top in sys.builtin_module_names or top in sys.stdlib_module_names:
        return ModuleFile(name, PYTHON, "", is_package=False)
    try:
        spec: ModuleSpec | None = importlib.util.find_spec(top)
        full = top
        for part in rest:
            if spec is None or spec.submodule_search_locations is None:
                return None
            full = f"{full}.{part}"
            spec = PathFinder.find_spec(full, list(spec.submodule_search_locations))
    except (ImportError, AttributeError, ValueError) as error:
        raise Unidentified(f"the module {name} cannot be found: {error}") from error
    if spec is None:
        return None
    folder = spec.submodule_search_locations is not None
    if not spec.has_location or spec.origin is None:
        if folder:
            return ModuleFile(name, None, "", is_package=True)
        raise Unidentified(f"the module {name} has no file")
    return ModuleFile(name, home_of_file(spec.origin), spec.origin, folder)


_read: dict[tuple[str, int, int, int], tuple[bytes, tuple[str, ...]]] = {}


def read_module(module: ModuleFile) -> tuple[bytes, tuple[str, ...]]:
    """Return the hash of the file of *module*, and the names of all modules that it imports.

    A name may be that of something in a module, such as ``package.function``.

    Raises:
        Unidentified: its source cannot be read.
    """
    try:
        stat = os.stat(module.path)  # noqa: PTH116 - the fields are wanted
        key = module.path, stat.st_ino, stat.st_size, stat.st_mtime_ns
        if key not in _read:
            _read[key] = _hash_of(module)
        return _read[key]
    except (OSError, SyntaxError, ValueError) as error:
        raise Unidentified(f"the source of the module {module.name}: {error}") from error


def _hash_of(module: ModuleFile) -> tuple[bytes, tuple[str, ...]]:
    if module.path.endswith(tuple(EXTENSION_SUFFIXES)):
        return extension_hash(module.path), ()
    if not module.path.endswith(".py"):
        raise ValueError(f"{module.path} is no source")
    tree = ast.parse(Path(module.path).read_bytes())
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute_name(node.module or "", node.level, package)
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    text = ast.unparse(tree).encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=16).digest(), tuple(sorted(names))


def extension_hash(path: str) -> bytes:
    """Return the hash of a compiled module, by what is in its file."""
    try:
        return blake2b(Path(path).read_bytes(), digest_size=16).digest()
    except OSError as error:
        raise Unidentified(f"the file of a compiled module: {error}") from error
