"""The rooms of the package: what each may import, and how little a worker loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncflow_backend_radical
import pytest
from radical.asyncflow.worker import import_path

PACKAGE = Path(asyncflow_backend_radical.__file__).parent
ROOMS = ("version", "errors", "config", "_worker", "_host", "_pilot", "_tasks", "backend")
"""Low to high: each imports only from those before it, and from itself."""
INDEPENDENT = frozenset({"_worker", "_host"})
"""They run in processes of their own, and import nothing else of the package."""


def imported_rooms(path: Path) -> Iterator[str]:
    """Yield the rooms of the package that *path* imports, also for type checkers only."""
    folder = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = folder[: len(folder) - node.level + 1]
            names = node.module.split(".") if node.module else [node.names[0].name]
            yield (*above, *names)[0]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_before_it(room: str) -> None:
    files = [*(PACKAGE / room).rglob("*.py"), *PACKAGE.glob(f"{room}.py")]
    assert files != []
    allowed = {room} if room in INDEPENDENT else {*ROOMS[: ROOMS.index(room)], room, "capabilities"}
    assert {there for file in files for there in imported_rooms(file)} <= allowed


def test_a_worker_loads_its_own_room_and_neither_pydantic_nor_the_engine() -> None:
    code = """
import sys
sys.path[:] = sys.argv[1:]
import asyncflow_backend_radical._worker.main
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *import_path()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = set(done.stdout.split())
    name = PACKAGE.name
    assert {module for module in loaded if module.startswith(name)} == {
        name,
        f"{name}.version",
        f"{name}._worker",
        f"{name}._worker.exchange",
        f"{name}._worker.main",
        f"{name}._worker.traces",
    }
    core = "radical.asyncflow"
    others = {"pydantic", "radical.pilot", f"{core}.backend", f"{core}.engine", f"{core}.model"}
    assert loaded & others == set()
