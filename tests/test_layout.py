"""The layout of the code: what may import what, how long a function and how wide a class may be.

Read with `ast`, so that imports inside of functions and under TYPE_CHECKING count as well:
whoever reads the code has to follow those too.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import radical.asyncflow

ROOT = Path(__file__).parents[1]
CORE = ROOT / "packages/core/src/radical/asyncflow"

ROOMS: tuple[frozenset[str], ...] = tuple(
    frozenset(row.split())
    for row in (
        "version aside lazy _public _text _html _reference _groups _hookmarkers errors deprecation "
        "_former workflow_manager data backends logging",
        "_quality _scaffold model",
        "journal events config worker",
        "_graph",
        "_files",
        "report _display",
        "backend",
        "hookspecs",
        "_task",
        "_discovery _threads",
        "factory registry _catalog",
        "_watch",
        "_dispatch",
        "_resume",
        "_live",
        "_screen",
        "engine",
        "cli sync testing __init__ __main__",
    )
)
"""The rooms of the core, low to high: each imports only from rows above its own in this table,
or, without a circle, from its own."""

PURE = frozenset({"errors", "events", "model", "_graph"})
IMPURE = frozenset(
    [
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
    ]
)
FOR_BACKENDS = frozenset(
    [
        *("aside", "backend", "config", "deprecation", "errors", "hookspecs", "journal", "lazy"),
        *("model", "worker"),
    ]
)
"""The rooms that a backend may import: all public, and none of the engine's."""

LONGEST_FUNCTION = 60
HOT_LOOPS = {
    "_dispatch/dispatcher.py:Dispatcher.register": "each call of a task",
    "_dispatch/sending.py:sender": "each task that is sent",
    "_dispatch/reports.py:_receiver": "each report",
}
"""Functions that may be longer: a call more would cost each task a few percent."""

MOST_ATTRIBUTES = 12
VALUES = frozenset({"BaseModel", "NamedTuple", "Protocol", "TypedDict", "Enum", "IntEnum"})
"""Bases of classes that are nothing but fields; a dataclass is another."""


class Module(NamedTuple):
    """One source file: its import name, and where it lies."""

    name: str
    path: Path

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def modules_of(source: Path) -> dict[str, Module]:
    """Return the modules below a ``src`` folder, ``{import name: module}``."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        if "templates" in path.parts:
            continue  # files of projects that others begin
        parts = list(path.relative_to(source).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = Module(".".join(parts), path)
    return found


PACKAGES = {path.parent.name: modules_of(path) for path in sorted(ROOT.glob("packages/*/src"))}
MODULES = {name: module for package in PACKAGES.values() for name, module in package.items()}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_names(module: Module) -> Iterator[str]:
    """Yield the full names of what *module* imports, at any depth."""
    for node in ast.walk(tree_of(module.path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.package.split(".")
                above = above[: len(above) - node.level + 1]
                base = ".".join([*above, node.module] if node.module else above)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imported_modules(module: Module) -> set[str]:
    """Return the names of those modules of this repository that *module* imports."""
    found = set()
    for name in imported_names(module):
        parent = name.rpartition(".")[0]
        target = name if name in MODULES else parent
        if target in MODULES and target != module.name:
            found.add(target)
    return found


ARROWS = {name: imported_modules(module) for name, module in MODULES.items()}


def room_of(name: str) -> str | None:
    """Return the room of the core that the module *name* lies in; None if it is not the core's."""
    if not f"{name}.".startswith("radical.asyncflow."):
        return None
    parts = name.split(".")[2:]
    return parts[0] if parts else "__init__"


def row_of(room: str) -> int:
    return next(row for row, rooms in enumerate(ROOMS) if room in rooms)


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of nodes that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in arrows.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[-len(group) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in arrows:
        if node not in index:
            visit(node)
    return found


def room_arrows() -> dict[str, set[str]]:
    """Return which rooms of the core each room imports from."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, targets in ARROWS.items():
        if (room := room_of(name)) is not None:
            found[room] |= {there for target in targets if (there := room_of(target))} - {room}
    return found


# --------------------------------------------------------------------- imports


def test_every_room_stands_in_the_table() -> None:
    rooms = {room for name in MODULES if (room := room_of(name)) is not None}
    assert rooms == frozenset().union(*ROOMS)


@pytest.mark.parametrize("name", PACKAGES["core"])
def test_imports_go_down_only(name: str) -> None:
    here = room_of(name)
    assert here is not None
    up = {
        target
        for target in ARROWS[name]
        if (there := room_of(target)) is not None and row_of(there) > row_of(here)
    }
    assert up == set(), f"{here} stands below"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    arrows = {name: ARROWS[name] for name in PACKAGES[package]}
    if package == "core":
        # The face names everything for type checkers, and gives it when it is asked for.
        arrows["radical.asyncflow"] = {"radical.asyncflow.version", "radical.asyncflow.lazy"}
    assert circles(arrows) == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    arrows = room_arrows()
    arrows["__init__"] = set()
    assert circles(arrows) == []


def test_the_import_graph_has_no_arrow_upwards(capsys: pytest.CaptureFixture[str]) -> None:
    arrows = room_arrows()
    floors: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in floors:
            floors[room] = 1 + max(map(floor, arrows[room]), default=0)
        return floors[room]

    upwards = [
        (here, there) for here in arrows for there in arrows[here] if row_of(there) > row_of(here)
    ]
    highest = max(map(floor, list(arrows)))
    count = sum(map(len, arrows.values()))
    with capsys.disabled():
        print(
            f"\nimport graph of the core: {len(arrows)} rooms, {highest} floors, {count} arrows, "
            f"{len(upwards)} upwards, {len(circles(arrows))} circles"
        )
    assert upwards == []


@pytest.mark.parametrize(
    "name", [name for name in PACKAGES["core"] if room_of(name) in PURE], ids=str
)
def test_the_pure_core_knows_no_loop_thread_clock_or_file(name: str) -> None:
    used = {target.split(".")[0] for target in imported_names(MODULES[name])}
    assert used & IMPURE == set()


@pytest.mark.parametrize(
    "name",
    [name for package in PACKAGES if package.startswith("backend-") for name in PACKAGES[package]],
)
def test_a_backend_imports_only_the_contract(name: str) -> None:
    used = {room for target in ARROWS[name] if (room := room_of(target)) is not None}
    assert used <= FOR_BACKENDS
    hidden = [
        target
        for target in imported_names(MODULES[name])
        if target.startswith("radical.asyncflow.") and "._" in target
    ]
    assert hidden == []


# --------------------------------------------------------- functions, classes


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Yield the qualified name and the length in lines of every function, outermost only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            doc = ast.get_docstring(node, clean=False)
            lines = node.end_lineno - node.body[0].lineno + 1
            if doc is not None:
                lines -= doc.count("\n") + 1
            yield f"{prefix}{node.name}", lines
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        else:
            yield from functions(node, prefix)


def within(path: Path) -> str:
    """Return *path* relative to the folder of its package's own modules."""
    source = next(parent for parent in path.parents if parent.name == "src")
    inner = path.relative_to(source).parts
    return "/".join(inner[2:] if inner[0] == "radical" else inner[1:])


@pytest.mark.parametrize("name", MODULES)
def test_a_function_can_be_read_in_one_sitting(name: str) -> None:
    path = MODULES[name].path
    long = {
        f"{within(path)}:{function}": lines
        for function, lines in functions(tree_of(path))
        if lines > LONGEST_FUNCTION
    }
    assert {key: lines for key, lines in long.items() if key not in HOT_LOOPS} == {}


def test_the_hot_loops_are_still_there() -> None:
    names = {
        f"{within(module.path)}:{function}"
        for module in MODULES.values()
        for function, lines in functions(tree_of(module.path))
        if lines > LONGEST_FUNCTION
    }
    assert names >= HOT_LOOPS.keys()


def attributes(node: ast.ClassDef) -> set[str]:
    """Return the public attributes that *node* gives its instances; methods are none."""
    found = set()
    for inner in ast.walk(node):
        target = None
        if isinstance(inner, ast.Assign):
            targets = inner.targets
        elif isinstance(inner, ast.AnnAssign):
            targets = [inner.target]
        else:
            continue
        for target in targets:
            if (
                isinstance(target, ast.Attribute)
                and isinstance(target.value, ast.Name)
                and target.value.id == "self"
            ):
                found.add(target.attr)
    return {name for name in found if not name.startswith("_")}


@cache
def reads() -> dict[str, set[str]]:
    """Return in which modules each attribute name is read, ``{attribute: modules}``."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, module in MODULES.items():
        for node in ast.walk(tree_of(module.path)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found[node.attr].add(name)
    return found


@cache
def importers_of(name: str) -> frozenset[str]:
    """Return the modules that import *name*: those that may know an attribute by its class."""
    return frozenset(other for other, targets in ARROWS.items() if name in targets)


def is_value(node: ast.ClassDef) -> bool:
    """Tell whether *node* is nothing but fields: it has no method of its own, or is such a type."""
    methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
    if methods <= {"__init__"}:
        return True
    marks = {ast.unparse(base).split("[")[0].rpartition(".")[2] for base in node.bases}
    decorators = {ast.unparse(one).split("(")[0] for one in node.decorator_list}
    return bool(marks & VALUES) or "dataclass" in decorators


@pytest.mark.parametrize("name", MODULES)
def test_a_class_shows_others_few_attributes(name: str) -> None:
    wide = {}
    for node in ast.walk(tree_of(MODULES[name].path)):
        if isinstance(node, ast.ClassDef) and not is_value(node):
            shared = {attr for attr in attributes(node) if reads()[attr] & importers_of(name)}
            if len(shared) > MOST_ATTRIBUTES:
                wide[node.name] = sorted(shared)
    assert wide == {}


# ------------------------------------------------------------------ packages


def test_radical_is_a_namespace_that_others_share() -> None:
    assert list(ROOT.glob("packages/*/src/radical/__init__.py*")) == []
    assert radical.__spec__ is not None
    assert radical.__spec__.origin is None


def test_the_face_gives_all_that_it_names() -> None:
    for name in radical.asyncflow.__all__:
        assert getattr(radical.asyncflow, name) is not None


def test_the_face_names_all_that_it_gives() -> None:
    tree = tree_of(CORE / "__init__.py")
    shown = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        if isinstance(statement, ast.ImportFrom) and statement.level
        for alias in statement.names
    }
    assert shown | {"__version__"} == set(radical.asyncflow.__all__)


@pytest.mark.parametrize("package", sorted(ROOT.glob("packages/*")), ids=lambda path: path.name)
def test_every_package_carries_its_types(package: Path) -> None:
    markers = [path for path in package.glob("src/**/py.typed") if "templates" not in path.parts]
    assert len(markers) == 1
    assert markers[0].read_bytes() == b""
