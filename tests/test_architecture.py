"""The architecture page has one line for each room of the core, and names nothing else."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ROOT / "packages/core/src/radical/asyncflow"
ENTRANCES = {"__init__", "__main__"}


def page() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def rooms() -> list[str]:
    """Return the names in the first column of the page's table of rooms, in its order."""
    table = page().partition("## Rooms")[2].partition("##")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def test_every_room_has_its_line() -> None:
    modules = {path.stem for path in CORE.glob("*.py")} - ENTRANCES
    folders = {path.parent.name for path in CORE.glob("*/__init__.py")}
    assert sorted(rooms()) == sorted(modules | folders)


def test_the_rooms_stand_in_the_order_of_the_import_table() -> None:
    from .test_layout import row_of

    rows = [row_of(room) for room in rooms()]
    assert rows == sorted(rows)


def test_what_the_page_names_is_there() -> None:
    names = set(re.findall(r"`(_?[A-Z_a-z]\w*(?:\.\w+)?)`", page()))
    known = {path.stem for path in ROOT.glob("packages/*/src/**/*")}
    for path in ROOT.glob("packages/*/src/**/*.py"):
        known.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    assert {name for name in names if name.rpartition(".")[2] not in known} == set()


def test_every_folder_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in ROOT.glob("packages/*/src/*/**/__init__.py")
        if not path.read_text(encoding="utf-8").startswith('"""')
    ]
    assert silent == []
