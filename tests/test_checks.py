"""The page on checking a backend has the checks that there are."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("checks", ROOT / "scripts/checks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _script()


def test_the_table_of_checks_is_that_of_the_kit() -> None:
    page = SCRIPT.PAGE.read_text(encoding="utf-8")
    written = page.partition(SCRIPT.BEGIN)[2].partition(SCRIPT.END)[0]
    assert written.strip() == SCRIPT.table().strip(), "run python scripts/checks.py"
