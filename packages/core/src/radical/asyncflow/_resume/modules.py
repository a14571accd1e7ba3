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
from typing import Any, NamedTuple

from .._text import safe_message
from .distributions import PYTHON, Home, home_of_file
from .values import Unidentified

__all__ = ["ModuleFile", "Needed", "absolute_name", "extension_hash", "find_module", "read_module"]


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
    if top in sys.builtin_module_names or (
        top in sys.stdlib_module_names and not _is_shadowed(top)
    ):
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


def _is_shadowed(top: str) -> bool:
    """Tell whether a file of the user's has the name of a module of Python, and is before it."""
    spec = PathFinder.find_spec(top)
    if spec is None or not spec.has_location or spec.origin is None:
        return False
    return home_of_file(spec.origin) is not PYTHON and os.path.exists(spec.origin)  # noqa: PTH110


class Needed(NamedTuple):
    """A module, and what of it is needed: some of its names, or all (None)."""

    module: str
    names: frozenset[str] | None


_Read = tuple[bytes, tuple[Needed, ...]]
_read: dict[tuple[Any, ...], _Read] = {}

WHOLE = frozenset({"globals", "locals", "vars", "eval", "exec", "getattr", "modules", "dir"})
"""Names by which a module may use what it defines without naming it."""


def read_module(module: ModuleFile, names: frozenset[str] | None) -> _Read:
    """Return the hash of what is needed of *module*, and what it needs of others.

    A needed module may also be something in a module, such as ``package.function``.

    Args:
        names: what is needed of it; None for all.

    Raises:
        Unidentified: its source cannot be read.
    """
    try:
        stat = os.stat(module.path)  # noqa: PTH116 - the fields are wanted
        key = module.path, stat.st_ino, stat.st_size, stat.st_mtime_ns, names
        if key not in _read:
            _read[key] = _hash_of(module, names)
        return _read[key]
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        reason = safe_message(error)
        raise Unidentified(f"the source of the module {module.name}: {reason}") from error


def _hash_of(module: ModuleFile, names: frozenset[str] | None) -> _Read:
    if module.path.endswith(tuple(EXTENSION_SUFFIXES)):
        return extension_hash(module.path), ()
    if not module.path.endswith(".py"):
        raise ValueError(f"{module.path} is no source")
    tree = ast.parse(Path(module.path).read_bytes())
    if names is not None:
        tree.body = _slice(tree, names)
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    needed: set[Needed] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            needed.update(Needed(alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute_name(node.module or "", node.level, package)
            taken = frozenset(alias.name for alias in node.names)
            needed.add(Needed(base, None if "*" in taken else taken))
            needed.update(Needed(f"{base}.{name}", None) for name in taken - {"*"})
    text = ast.unparse(tree).encode("utf-8", "surrogatepass")
    ordered = sorted(needed, key=lambda one: (one.module, sorted(one.names or ()), not one.names))
    return blake2b(text, digest_size=16).digest(), tuple(ordered)


def _slice(tree: ast.Module, names: frozenset[str]) -> list[ast.stmt]:
    """Return the statements that run code, and those that *names* depend on."""
    if WHOLE & _mentioned(tree):
        return tree.body
    waiting = [(statement, _bound(statement)) for statement in tree.body]
    kept = {id(statement) for statement, bound in waiting if bound is None}
    needed = set(names).union(*(_mentioned(s) for s, bound in waiting if bound is None))
    while True:
        more = [s for s, bound in waiting if bound and id(s) not in kept and bound & needed]
        if not more:
            return [statement for statement in tree.body if id(statement) in kept]
        kept.update(map(id, more))
        needed.update(*map(_mentioned, more))


def _mentioned(tree: ast.AST) -> set[str]:
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def _bound(statement: ast.stmt) -> frozenset[str] | None:
    """Return the names that a statement defines; None if it may do anything else."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        modules = [statement.module or ""] if isinstance(statement, ast.ImportFrom) else []
        modules = modules or [alias.name for alias in statement.names]
        standard = all(name.partition(".")[0] in sys.stdlib_module_names for name in modules)
        bound = [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
        return frozenset(bound) if standard and "*" not in bound else None
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        plain = not statement.decorator_list and not getattr(statement, "bases", None)
        plain = plain and not getattr(statement, "keywords", None)
        return frozenset({statement.name}) if plain and not _calls(statement) else None
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    bound = [target.id for target in targets if isinstance(target, ast.Name)]
    if not bound or len(bound) < len(targets) or _calls(statement):
        return None
    return frozenset(bound)


def _calls(node: ast.AST) -> bool:
    """Tell whether *node* calls anything, outside of the bodies of functions."""
    if isinstance(node, ast.Call | ast.Await | ast.NamedExpr | ast.ListComp | ast.GeneratorExp):
        return True
    inside: list[ast.AST] = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        inside = [node.args, *node.decorator_list]
    return any(map(_calls, inside))


def extension_hash(path: str) -> bytes:
    """Return the hash of a compiled module, by what is in its file."""
    try:
        return blake2b(Path(path).read_bytes(), digest_size=16).digest()
    except OSError as error:
        reason = safe_message(error)
        raise Unidentified(f"the file of a compiled module: {reason}") from error
