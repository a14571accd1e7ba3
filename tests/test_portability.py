"""The page on portability says what the backends declare and refuse; the kit proves that."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from radical.asyncflow.backend._portability import ROWS

ROOT = Path(__file__).parents[1]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("portability", ROOT / "scripts/portability.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _script()
PAGE = SCRIPT.read(SCRIPT.PAGE.read_text(encoding="utf-8"))
HERE = SCRIPT.measure()


def test_the_page_has_every_column_and_row() -> None:
    assert list(PAGE) == [column.title for column in SCRIPT.COLUMNS]
    for column in PAGE.values():
        assert list(column) == [row.title for row in ROWS]


@pytest.mark.parametrize("title", HERE)
def test_a_column_is_what_its_backend_says(title: str) -> None:
    assert PAGE[title] == HERE[title], "run python scripts/portability.py"


def test_a_table_that_was_written_is_read_as_it_was() -> None:
    text = f"{SCRIPT.BEGIN}\n{SCRIPT.write(PAGE)}\n{SCRIPT.END}"
    assert SCRIPT.read(text) == PAGE
    assert " no (" in text
