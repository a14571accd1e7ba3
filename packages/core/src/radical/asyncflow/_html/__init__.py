"""HTML with every text escaped: markup has a type of its own.

Pages and notebooks show what it makes.  It brings no style along; `style` has the one that all
pages share.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from .._text import printable_lines

__all__ = ["LEFT", "Markup", "cell", "number", "summary", "table", "tag"]


class Markup(str):
    """Text that is HTML already; only the functions of this module make it."""

    __slots__ = ()

    @classmethod
    def escape(cls, text: str) -> Markup:
        """Return *text* escaped and made printable; line ends and tabs stay."""
        return cls(html.escape(printable_lines(text)))

    @classmethod
    def concat(cls, *parts: Markup | str, sep: str = "") -> Markup:
        """Join *parts*, and escape those that are plain text."""
        return cls(sep.join(as_markup(part) for part in parts))


def as_markup(content: Markup | str) -> Markup:
    return content if isinstance(content, Markup) else Markup.escape(content)


def tag(name: str, content: Markup | str, *, css: str = "", **attributes: str) -> Markup:
    """Return one element; ``aria_label`` becomes ``aria-label``."""
    if css:
        attributes = {"class": css, **attributes}
    words = "".join(
        f' {key.replace("_", "-")}="{Markup.escape(value)}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{words}>{as_markup(content)}</{name}>")


def cell(text: str) -> Markup:
    """Return foreign text for a table: it may break anywhere, and stands apart from the rest."""
    return tag("span", text, css="foreign")


def number(content: Markup | str, css: str = "") -> Markup:
    """Return a figure, aligned to the right."""
    return tag("span", content, css=f"number {css}".rstrip())


def table(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Iterable[Markup | str]],
    *,
    empty: str = "",
    **attributes: str,
) -> Markup:
    """Return a table that scrolls if it is too wide; a head ``#Name`` stands over figures.

    Args:
        title: what a screen reader calls it.
        empty: the text that stands in place of a table without rows.
        attributes: of each cell of the body and each head.
    """
    columns = [
        tag(
            "th",
            head.removeprefix("#"),
            css="number" if head[:1] == "#" else "",
            scope="col",
            **attributes,
        )
        for head in heads
    ]
    lines = [
        tag("tr", Markup.concat(*(tag("td", each, **attributes) for each in row))) for row in rows
    ]
    if not lines:
        return tag("p", empty, css="empty") if empty else Markup()
    inner = Markup.concat(
        tag("thead", tag("tr", Markup.concat(*columns))),
        tag("tbody", Markup.concat(*lines, sep="\n")),
    )
    reachable = {"tabindex": "0", "role": "region", "aria_label": title}
    return tag("div", tag("table", inner), css="wide", **reachable)


def summary(title: str, facts: Iterable[tuple[str, str]], *parts: Markup) -> Markup:
    """Return what a notebook shows of an object: its *title*, its *facts*, and more below.

    Args:
        facts: pairs of a word and what it is; those that are empty are left out.
    """
    rows = [
        tag("tr", Markup.concat(tag("th", name, style=LEFT), tag("td", value, style=LEFT)))
        for name, value in facts
        if value
    ]
    head = tag("div", title, style="font-weight: bold")
    body = tag("table", tag("tbody", Markup.concat(*rows))) if rows else Markup()
    return tag("div", Markup.concat(head, body, *parts), css="asyncflow")


LEFT = "text-align: left"
