"""Put the pictures that the code of a page makes into that page, while Sphinx builds the pages.

Each page with a comment ``<!-- picture: NAME what it shows -->`` runs as its test does; then the
picture replaces the comment.  So no picture is ever older than the code beside it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sphinx.errors import ExtensionError
from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]

SUPPORT = Path(__file__).parents[1] / "tests/support"
LIBRARY = "matplotlib"
"""The library that draws; without it, no page is run."""

MARK = "<!-- picture: "
PICTURES: dict[str, str] = {}
"""The HTML of each picture by its comment; no two pages have the same comment."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect this extension to Sphinx, which calls this."""
    app.connect("builder-inited", draw)
    app.connect("source-read", replace)
    return {"parallel_read_safe": True}


def draw(app: Sphinx) -> None:
    """Run all pages with pictures, two at a time, before the first page is read."""
    pages = [path for path in Path(app.srcdir).rglob("*.md") if MARK in path.read_text("utf-8")]
    if not pages:
        return
    if find_spec(LIBRARY) is None:
        text = f"the pictures need {LIBRARY}: pip install -r requirements/docs.txt"
        logging.getLogger(__name__).warning(text, type="page_pictures")
        return
    with ThreadPoolExecutor(max_workers=2) as threads:
        for pictures in threads.map(run, pages):
            PICTURES.update(pictures)


def replace(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Replace the comments in a page by its pictures."""
    if MARK in source[0]:
        for comment, picture in PICTURES.items():
            source[0] = source[0].replace(comment, picture)


def run(page: Path) -> dict[str, str]:
    """Run a *page* in a folder of its own, and return the HTML of its pictures by their comments.

    Raises:
        ExtensionError: a block failed, or printed something else than the page says.
    """
    with TemporaryDirectory() as folder:
        drawn = Path(folder) / "pictures.json"
        command = [sys.executable, "-m", "document_blocks", str(page.absolute()), str(drawn)]
        path = os.pathsep.join(filter(None, (str(SUPPORT), os.environ.get("PYTHONPATH"))))
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": path},
        )
        if done.returncode:
            raise ExtensionError(f"{page} does not run:\n{done.stdout}{done.stderr}")
        pictures: dict[str, str] = json.loads(drawn.read_text(encoding="utf-8"))
    # Markdown ends a piece of HTML at an empty line.
    return {comment: re.sub(r"\n\s*\n", "\n", html) for comment, html in pictures.items()}
