"""Link each error in the reference to its entry in the page on troubleshooting, and back.

A test holds the entries of the page against the public errors, so each class has one.  An entry
whose class is not in the reference is a warning, which fails the build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]

PAGE = "troubleshooting"
ENTRY = re.compile(r"^### (\w+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect this extension to Sphinx, which calls this."""
    app.connect("source-read", _mark_entries)
    app.connect("autodoc-process-docstring", _add_link)
    app.connect("env-check-consistency", _check_links)
    return {"parallel_read_safe": True}


def _mark_entries(_app: Sphinx, page: str, source: list[str]) -> None:
    """Give each entry a label of its own, which the reference can name, and a link back."""
    if page == PAGE:
        source[0] = ENTRY.sub(_marked, source[0])


def _marked(entry: re.Match[str]) -> str:
    name, body = entry.groups()
    back = f"In the reference: {{py:exc}}`{name} <.{name}>`"
    return f"({_label(name)})=\n### {name}\n{body.rstrip()}\n\n{back}\n\n"


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


def _check_links(app: Sphinx, env: Any) -> None:
    """Warn of entries whose link back leads nowhere, which Sphinx itself does not."""
    documented = {name.rpartition(".")[2] for name in env.get_domain("py").objects}
    for title in sorted(_entries(Path(app.srcdir)) - documented):
        logging.getLogger(__name__).warning(f"the reference does not have {title}", location=PAGE)


def _entries(folder: Path) -> set[str]:
    text = (folder / f"{PAGE}.md").read_text(encoding="utf-8")
    return {name for name, _ in ENTRY.findall(text)}


def _label(title: str) -> str:
    return f"error-{title.lower()}"
