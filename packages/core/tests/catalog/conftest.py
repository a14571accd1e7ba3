"""A catalog in a folder of the test, and a browser to look at it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import page as page
from radical.asyncflow._catalog.pages import Catalog
from radical.asyncflow._catalog.site import build_catalog

Build = Callable[..., Catalog]


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Make an empty folder for wheels."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return the path of the catalog."""
    return tmp_path / "site"


@pytest.fixture
def build(shelf: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Return a function that builds the catalog of the folder of wheels on a day in 2026."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1780000000")

    def run(**options: Any) -> Catalog:
        return build_catalog(site, [str(shelf)], **{"title": "Test", **options})

    return run
