"""A page in a browser, a new one for each test that needs one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import page as page
from radical.asyncflow.journal import RunRecord
from radical.asyncflow.report import render_html

Save = Callable[[RunRecord], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write the page of a run, and return its path."""

    def write(run: RunRecord) -> Path:
        path = tmp_path / "report.html"
        path.write_text(render_html(run), encoding="utf-8")
        return path

    return write
