"""Imports of the core go down only, and what is pure stays pure: read with `ast`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import radical.asyncflow

ROOT = Path(__file__).parents[1]
CORE = ROOT / "packages/core/src/radical/asyncflow"
PACKAGE = "radical.asyncflow"

FLOORS: tuple[frozenset[str], ...] = (
    # 0: values
    frozenset({"_command", "_resources", "_retry", "errors", "events", "model", "version"}),
    # 1: the pure core
    frozenset({"_binding", "_plan", "_scheduler"}),
    # 2: the contract, and what a backend needs where tasks run
    frozenset({"_reference", "aside", "backend", "config", "hookspecs", "journal", "worker"}),
    # 3: the machinery
    frozenset(
        {
            "_block",
            "_bodies",
            "_call",
            "_cached_files",
            "_carriage",
            "_chains",
            "_collector",
            "_copying",
            "_decorators",
            "_discovery",
            "_dispatch",
            "_ending",
            "_entry",
            "_files",
            "_future",
            "_halt",
            "_identity",
            "_inbox",
            "_journaling",
            "_lane",
            "_launch",
            "_listener",
            "_listing",
            "_map",
            "_observers",
            "_occurrences",
            "_options",
            "_outcomes",
            "_plugins",
            "_preemption",
            "_prepare",
            "_recall",
            "_recorder",
            "_profiles",
            "_progress",
            "_registry",
            "_reports",
            "_scope",
            "_sending",
            "_settings",
            "_source",
            "_spec",
            "_staging",
            "_tally",
            "_task",
            "_text",
            "_values",
            "_watchers",
            "_work_dir",
            "engine",
        }
    ),
    # 4: the faces
    frozenset({"__init__", "__main__", "cli", "factory", "registry", "report", "testing"}),
)
SAME_FLOOR_0 = {
    "_command": {"errors"},
    "_resources": {"errors"},
    "_retry": {"errors"},
    "errors": set(),
    "events": {"model"},
    "model": {"_command", "_resources", "_retry", "errors"},
    "version": set(),
}
IMPURE = frozenset(
    {
        "asyncio",
        "concurrent",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "shutil",
        "signal",
        "socket",
        "subprocess",
        "tempfile",
        "threading",
        "time",
    }
)
FOR_BACKENDS = FLOORS[2] | {"errors", "model"}
LONGEST = 450

MODULES = sorted(CORE.rglob("*.py"))
BACKENDS = sorted(ROOT.glob("packages/backend-*/src/*/*.py"))


def unit(path: Path) -> str:
    """The module, or the subpackage, that a file of the core belongs to."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imports(path: Path, *, runtime: bool = True) -> Iterator[str]:
    """Full names of what *path* imports; with *runtime*, without what only checkers see."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        child
        for node in ast.walk(tree)
        if runtime and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for child in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(path, node)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def absolute(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    if CORE not in path.parents:
        return f"{path.parent.name}.{node.module or ''}"
    package = [*PACKAGE.split("."), *path.relative_to(CORE).parts[:-1]]
    parts = package[: len(package) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def ours(name: str) -> str | None:
    """Which unit of the core a full name lies in; None if it is not of the core."""
    if not name.startswith(f"{PACKAGE}.") and name != PACKAGE:
        return None
    parts = name.split(".")[2:]
    known = frozenset().union(*FLOORS)
    return parts[0] if parts and parts[0] in known else "__init__"


def floor(name: str) -> int:
    return next(level for level, units in enumerate(FLOORS) if name in units)


def test_every_module_has_its_floor() -> None:
    known = frozenset().union(*FLOORS)
    assert {unit(path) for path in MODULES} - known == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_imports_go_down_only(path: Path) -> None:
    here = unit(path)
    up = {
        name
        for name in imports(path)
        if (target := ours(name)) is not None and floor(target) > floor(here)
    }
    assert up == set(), f"{here} is on floor {floor(here)}"


@pytest.mark.parametrize("name", sorted(FLOORS[0]))
def test_values_import_only_the_values_below(name: str) -> None:
    inside = {ours(target) for target in imports(CORE / f"{name}.py", runtime=False)} - {None}
    assert inside <= SAME_FLOOR_0[name]


@pytest.mark.parametrize("name", sorted(FLOORS[0] | FLOORS[1]))
def test_the_pure_core_knows_no_loop_thread_clock_or_file(name: str) -> None:
    used = {target.split(".")[0] for target in imports(CORE / f"{name}.py", runtime=False)}
    assert used & IMPURE == set()


@pytest.mark.parametrize("path", BACKENDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_backend_imports_only_the_contract(path: Path) -> None:
    used = {ours(name) for name in imports(path, runtime=False)} - {None}
    assert used <= FOR_BACKENDS


@pytest.mark.parametrize("path", [*MODULES, *BACKENDS], ids=lambda path: path.name)
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_radical_is_a_namespace_that_others_share() -> None:
    assert list(ROOT.glob("packages/*/src/radical/__init__.py*")) == []
    assert radical.__spec__ is not None
    assert radical.__spec__.origin is None


def test_the_face_gives_all_that_it_names() -> None:
    for name in radical.asyncflow.__all__:
        assert getattr(radical.asyncflow, name) is not None


def test_the_face_names_all_that_it_gives() -> None:
    tree = ast.parse((CORE / "__init__.py").read_text())
    shown = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert shown | {"__version__"} == set(radical.asyncflow.__all__)


@pytest.mark.parametrize("package", sorted(ROOT.glob("packages/*")), ids=lambda path: path.name)
def test_every_package_carries_its_types(package: Path) -> None:
    markers = list(package.glob("src/**/py.typed"))
    assert len(markers) == 1
    assert markers[0].read_bytes() == b""
