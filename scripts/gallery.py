"""Show the programs of the folder ``examples`` on one page, while Sphinx builds the pages.

The comment ``<!-- examples -->`` is replaced by a table of them, with the first sentence of each,
and by their code and what they print.  They run for it, so the page shows what they do today.
"""

from __future__ import annotations

import ast
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from sphinx.errors import ExtensionError

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))

from example_runs import EXAMPLES, NEEDS, OPTIONS, run_example

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]

FOLDER = Path(__file__).parents[1] / "examples"
MARK = "<!-- examples -->"


class Example(NamedTuple):
    """A program of the gallery.

    Attributes:
        title: a name to read, made of that of the file.
        summary: the first paragraph of its docstring.
        more: the paragraphs after that.
        line: the number of the first line after the docstring.
    """

    path: Path
    title: str
    summary: str
    more: str
    line: int


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect this extension to Sphinx, which calls this."""
    app.connect("source-read", replace)
    return {"parallel_read_safe": True}


def replace(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Replace the comment in a page by the gallery."""
    if MARK in source[0]:
        source[0] = source[0].replace(MARK, gallery())


def gallery() -> str:
    """Return the gallery in Markdown."""
    examples = [read(path) for path in sorted(FOLDER.glob("*.py"))]
    rows = [f"| [{one.title}](#{anchor(one)}) | {one.summary} |" for one in examples]
    table = "\n".join(["| example | what it shows |", "| --- | --- |", *rows])
    with ThreadPoolExecutor(max_workers=2) as threads:
        outputs = threads.map(output, examples)
        sections = [section(one, said) for one, said in zip(examples, outputs, strict=True)]
    return "\n\n".join([table, *sections])


def read(path: Path) -> Example:
    """Read what the page says about the program *path* in its docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    text, node = ast.get_docstring(tree), tree.body[0]
    if text is None or node.end_lineno is None:
        raise ExtensionError(f"{path} has no docstring")
    summary, _, more = text.partition("\n\n")
    title = path.stem.partition("_")[2].replace("_", " ").capitalize()
    return Example(path, title, " ".join(summary.split()), more, node.end_lineno + 1)


def anchor(example: Example) -> str:
    """Return the name of the section about *example*."""
    return example.title.lower().replace(" ", "-")


def output(example: Example) -> str:
    """Run *example* and return what it prints; "" if what it needs is not installed here.

    Raises:
        ExtensionError: it failed.
    """
    if example.path not in EXAMPLES:
        return ""
    command = [sys.executable, str(example.path), *OPTIONS.get(example.path.name, [])]
    with TemporaryDirectory() as folder:
        done = run_example(command, Path(folder))
    if done.returncode:
        raise ExtensionError(f"{example.path} does not run:\n{done.stdout}{done.stderr}")
    return done.stdout


def section(example: Example, said: str) -> str:
    """Return the section about *example*, which prints what was *said*."""
    name = example.path.name
    line = " ".join(["$ python", f"examples/{name}", *OPTIONS.get(name, [])])
    if not said:
        said = f"... (not shown: this page was built without {NEEDS[name]})"
    parts = [
        f"## {example.title}",
        example.summary,
        example.more,
        f"```{{literalinclude}} ../examples/{name}\n:language: python\n"
        f":lines: {example.line + 1}-\n```",
        f"```console\n{line}\n{said.rstrip()}\n```",
    ]
    return "\n\n".join(parts)
