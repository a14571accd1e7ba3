"""The architecture page names every module of the core, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ROOT / "packages/core/src/radical/asyncflow"
NAMED = re.compile(r"`(\w+)(?:\.py|/)?`|`(\w+)/\w+`|^ ?(_\w+)|, (_\w+) ", re.MULTILINE)
ENTRANCES = {"__init__", "__main__"}


def named() -> set[str]:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    return {name for names in NAMED.findall(page) for name in names if name}


def test_every_module_of_the_core_is_named() -> None:
    modules = {path.stem for path in CORE.glob("*.py")} - ENTRANCES
    packages = {path.parent.name for path in CORE.glob("*/__init__.py")}
    assert modules | packages <= named()


def test_every_private_module_that_is_named_is_there() -> None:
    modules = {path.stem for path in ROOT.glob("packages/*/src/**/*.py")}
    assert {name for name in named() if name.startswith("_")} <= modules
