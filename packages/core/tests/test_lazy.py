"""Names of a package that are imported when somebody first asks for them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with the lazy names ``Thing`` and ``Lost``, of which one exists."""
    name = f"lazy_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from radical.asyncflow.lazy import lazy_names\n"
        "__getattr__, __dir__ = lazy_names(__name__, {'Thing': 'home', 'Lost': 'home'})\n"
    )
    (folder / "home.py").write_text("class Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_name_is_imported_when_it_is_asked_for_and_then_kept(package: str) -> None:
    module = __import__(package)
    assert f"{package}.home" not in sys.modules
    assert module.Thing is sys.modules[f"{package}.home"].Thing
    assert vars(module)["Thing"] is module.Thing


def test_every_name_is_listed_before_it_is_imported(package: str) -> None:
    assert {"Thing", "Lost", "__file__"} <= set(dir(__import__(package)))


def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Other'"):
        __import__(package).Other  # noqa: B018


def test_a_name_that_its_home_lacks_is_an_attribute_error_of_the_home(package: str) -> None:
    with pytest.raises(AttributeError, match="home' has no attribute 'Lost'"):
        __import__(package).Lost  # noqa: B018
