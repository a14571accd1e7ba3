"""Link each error in the reference to its entry in the page on troubleshooting.

A test holds the entries of the page against the public errors, so each class has one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]

PAGE = "troubleshooting"
HEADING = re.compile(r"^### (\w+)$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect this extension to Sphinx, which calls this."""
    app.connect("source-read", _mark_entries)
    app.connect("autodoc-process-docstring", _add_link)
    return {"parallel_read_safe": True}


def _mark_entries(_app: Sphinx, page: str, source: list[str]) -> None:
    """Give each entry a label of its own, which the reference can name."""
    if page == PAGE:
        source[0] = HEADING.sub(lambda heading: f"({_label(heading[1])})=\n{heading[0]}", source[0])


def _add_link(
    app: Sphinx, what: str, name: str, value: Any, _options: Any, lines: list[str]
) -> None:
    if not (isinstance(value, type) and issubclass(value, BaseException)):
        return
    title = name.rpartition(".")[2]
    if what in ("class", "exception") and title in _entries(Path(app.srcdir)):
        # After the summary: the table of attributes may come last.
        end = lines.index("") if "" in lines else len(lines)
        text = f":ref:`Why it comes, and what to do <{_label(title)}>`"
        lines[end:end] = ["", text]


def _entries(folder: Path) -> set[str]:
    return set(HEADING.findall((folder / f"{PAGE}.md").read_text(encoding="utf-8")))


def _label(title: str) -> str:
    return f"error-{title.lower()}"
