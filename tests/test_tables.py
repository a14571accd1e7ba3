"""The tables of settings and capabilities in our pages are those that the backends give."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from radical.asyncflow._catalog.markdown import blocks_of, update_tables
from radical.asyncflow._catalog.settings import settings_of
from radical.asyncflow._discovery.registry import registry

ROOT = Path(__file__).parents[1]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "scripts/tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES = _script().tables()
FACTS = {name: registry.describe(name) for names in TABLES.values() for name in names}
# Those of backends that do not load here are for the sessions of these backends.
CASES = [
    pytest.param(page, name, id=f"{page.name}:{name}")
    for page, names in TABLES.items()
    for name in names
    if "capabilities" in FACTS[name]
]


@pytest.mark.parametrize(("page", "name"), CASES)
def test_the_tables_of_a_page_are_those_of_the_backend(page: Path, name: str) -> None:
    text = page.read_text(encoding="utf-8")
    assert update_tables(text, FACTS[name]) == text, "run python scripts/tables.py"


@pytest.mark.parametrize(("page", "name"), CASES)
def test_a_page_has_each_setting_once_and_each_is_described(page: Path, name: str) -> None:
    found = settings_of(FACTS[name]["config_schema"])
    assert [one.key for one in found if not one.description] == []
    shown: list[str] = []
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.what == "settings" and block.name == name:
            shown += block.keys or [one.key for one in found if "." not in one.key]
    assert sorted(shown) == sorted(one.key for one in found if "." not in one.key)


def test_every_backend_with_settings_has_its_tables_in_a_page() -> None:
    names = (
        "concurrent",
        "dask",
        "inference",
        "parsl",
        "pbs",
        "radical_pilot",
        "rhapsody",
        "slurm",
    )
    assert sorted(FACTS) == list(names)
