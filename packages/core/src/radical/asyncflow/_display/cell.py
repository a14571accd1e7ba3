"""The progress of a run in the output of a notebook's cell."""

from __future__ import annotations

import html
import io
import re
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Cell", "in_notebook"]

WIDTH = 100
"""Characters of a line."""

MOST_LINES = 100
"""The most lines, such as failures, that stand above the table; the oldest go first."""

_STYLE = "font-family: monospace; line-height: 1.25; white-space: pre; overflow-x: auto"
_BLOCK = f'<pre style="{_STYLE}">{{code}}</pre>'


_TAG = re.compile(r"<[^>]*>")


def in_notebook() -> bool:
    """Tell whether this program is a kernel whose output a notebook shows."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return getattr(shell, "kernel", None) is not None


class Cell:
    """A piece of the output of the cell that runs now, drawn again and again.

    Make it in the thread of the cell; any thread may draw.
    """

    def __init__(self) -> None:
        from IPython.display import display
        from rich.console import Console

        self.console: Console = Console(
            file=io.StringIO(),
            force_terminal=True,
            force_jupyter=False,  # it would show each piece by itself
            color_system="standard",
            width=WIDTH,
            height=50,
            record=True,
            highlight=False,
        )
        self._above: deque[str] = deque(maxlen=MOST_LINES)
        self._below: deque[str] = deque(maxlen=MOST_LINES)
        self._lines = self._above
        self._table = ""
        self._handle: Any = display(_Bundle("", ""), display_id=True)

    def open(self) -> None:
        """Do nothing, because a cell needs no preparation."""

    def close(self) -> None:
        """Leave what was drawn; what is printed from now on stands below it."""
        self._lines = self._below

    def draw(self, renderable: RenderableType) -> None:
        """Draw *renderable* in place of what was drawn before."""
        self._table = self._rendered(renderable)
        self._update()

    def print(self, renderable: RenderableType) -> None:
        """Show *renderable* above what is drawn or, after `close`, below it."""
        self._lines.append(self._rendered(renderable))
        self._update()

    def _rendered(self, renderable: RenderableType) -> str:
        self.console.print(renderable)
        return self.console.export_html(inline_styles=True, code_format="{code}").rstrip("\n")

    def _update(self) -> None:
        code = "\n".join(filter(None, (*self._above, self._table, *self._below)))
        text = html.unescape(_TAG.sub("", code))
        self._handle.update(_Bundle(_BLOCK.format(code=code), text))


class _Bundle:
    """The content of a cell, for a notebook and for a display without HTML."""

    def __init__(self, markup: str, text: str) -> None:
        self._markup = markup
        self._text = text

    def _repr_html_(self) -> str:
        return self._markup

    def __repr__(self) -> str:
        return self._text
