"""Every fragment is one that towncrier takes up: of a file with another name it says nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRAGMENTS = sorted(path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md")


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_of_the_changelog_has_a_kind_and_a_text(fragment: Path) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    kinds = {kind["directory"] for kind in settings["tool"]["towncrier"]["type"]}
    name, kind, suffix = fragment.name.split(".")
    assert name
    assert kind in kinds
    assert suffix == "md"
    assert fragment.read_text(encoding="utf-8").strip()
