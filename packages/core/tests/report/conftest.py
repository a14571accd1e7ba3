"""A page in a browser, a new one for each test that needs one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from radical.asyncflow.journal import RunRecord
from radical.asyncflow.report import render_html

from .browser import Page, browse, find_browser

Save = Callable[[RunRecord], Path]


@pytest.fixture
def page() -> Iterator[Page]:
    """Start a browser; without one skip the test, but fail in CI, which must have one."""
    browser = find_browser()
    if browser is None:
        text = "no Chromium: install the package chromium, or put a Chromium on the PATH"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    with browse(browser) as opened:
        yield opened


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write the page of a run, and return its path."""

    def write(run: RunRecord) -> Path:
        path = tmp_path / "report.html"
        path.write_text(render_html(run), encoding="utf-8")
        return path

    return write
