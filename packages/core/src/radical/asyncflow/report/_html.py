"""HTML in which text is always escaped: markup is a type of its own."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from .words import block

__all__ = ["Markup", "cell", "link", "number", "table", "tag"]


class Markup(str):
    """Text that is HTML already; made by the functions here only."""

    __slots__ = ()

    @classmethod
    def text(cls, text: str) -> Markup:
        """*text*, escaped, with line ends and tabs kept and all else made printable."""
        return cls(html.escape(block(text)))

    @classmethod
    def of(cls, *parts: Markup | str, sep: str = "") -> Markup:
        """All *parts* in a row; what is plain text is escaped."""
        return cls(sep.join(as_markup(part) for part in parts))


def as_markup(content: Markup | str) -> Markup:
    return content if isinstance(content, Markup) else Markup.text(content)


def tag(name: str, content: Markup | str, *, css: str = "", **attributes: str) -> Markup:
    """One element; ``aria_label`` is written as ``aria-label``."""
    if css:
        attributes = {"class": css, **attributes}
    words = "".join(
        f' {key.replace("_", "-")}="{Markup.text(value)}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{words}>{as_markup(content)}</{name}>")


def cell(text: str) -> Markup:
    """Foreign text in a table: broken anywhere, kept apart from its surroundings."""
    return tag("span", text, css="foreign")


def number(content: Markup | str, css: str = "") -> Markup:
    """A figure, right-aligned."""
    return tag("span", content, css=f"number {css}".rstrip())


def link(task: int, text: str) -> Markup:
    """To a task's own panel, which the page's script opens."""
    return tag("a", text, css="task", href=f"#task-{task}")


def table(
    title: str, heads: Sequence[str], rows: Iterable[Iterable[Markup | str]], *, empty: str = ""
) -> Markup:
    """A table that scrolls by itself where it is too wide; ``#Head`` stands over figures.

    Args:
        title: what it is called by those who do not see it.
    """
    columns = [
        tag("th", head.removeprefix("#"), css="number" if head[:1] == "#" else "", scope="col")
        for head in heads
    ]
    lines = [tag("tr", Markup.of(*(tag("td", each) for each in row))) for row in rows]
    if not lines:
        return tag("p", empty, css="empty") if empty else Markup()
    inner = Markup.of(
        tag("thead", tag("tr", Markup.of(*columns))), tag("tbody", Markup.of(*lines, sep="\n"))
    )
    reachable = {"tabindex": "0", "role": "region", "aria_label": title}
    return tag("div", tag("table", inner), css="wide", **reachable)
