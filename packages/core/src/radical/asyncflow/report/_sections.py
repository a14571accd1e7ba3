"""The sections that plugins add to the report of a run; all that they give is plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .._html import Markup, cell, number, table, tag
from .._public import public
from .._text import safe_repr, safe_str
from ..journal import RunRecord

__all__ = ["MadeSection", "Section", "make_sections", "sections_html", "sections_nav"]

MAX_ROWS = 1_000
"""The most rows of a section that are shown."""


@public("radical.asyncflow.report")
@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report, in plain text: reports escape it, and show it as a page or a table.

    Attributes:
        title: its heading.
        text: paragraphs, with empty lines between them.
        heads: the heads of a table; one that begins with ``#`` stands over figures.
        rows: its rows, each with as many texts as there are heads.
    """

    title: str
    text: str = ""
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError if a part is no text, or a row does not fit the heads."""
        for text in (self.title, self.text, *self.heads):
            if not isinstance(text, str):
                raise TypeError(f"a Section has texts, not {safe_repr(text)}")
        if not self.title.strip():
            raise ValueError("a Section has a title")
        for row in self.rows:
            if isinstance(row, str):
                raise TypeError(f"a row of a Section is a list of texts, not {row!r}")
            if len(row) != len(self.heads):
                raise ValueError(
                    f"a row of section {self.title!r} has {len(row)} texts, "
                    f"but there are {len(self.heads)} heads"
                )
            for text in row:
                if not isinstance(text, str):
                    raise TypeError(f"a row of a Section has texts, not {safe_repr(text)}")

    def shown_rows(self) -> tuple[Sequence[Sequence[str]], int]:
        """Return the rows that are shown, and the number of those that are not."""
        return self.rows[:MAX_ROWS], max(len(self.rows) - MAX_ROWS, 0)


@public("radical.asyncflow.report")
@dataclass(frozen=True, slots=True)
class MadeSection:
    """A plugin's section of one run, or why there is none."""

    plugin: str
    section: Section | None
    error: BaseException | None = None


@public("radical.asyncflow.report")
def make_sections(
    run: RunRecord, makers: Iterable[tuple[str, Callable[[RunRecord], object]]]
) -> list[MadeSection]:
    """Call each maker with *run*; one that raises costs only its own section.

    Args:
        makers: pairs of a plugin's name and its function.
    """
    made = []
    for plugin, make in makers:
        try:
            section = make(run)
            if section is not None and not isinstance(section, Section):
                raise TypeError(f"it must return a Section or None, not {safe_repr(section)}")
        except Exception as error:
            made.append(MadeSection(plugin, None, error))
        else:
            if section is not None:
                made.append(MadeSection(plugin, section))
    return made


def sections_nav(made: Sequence[MadeSection]) -> Markup:
    """Return the links to the sections."""
    return Markup.concat(
        *(
            tag("li", tag("a", _title(each), href=f"#plugin-{place}"))
            for place, each in enumerate(made)
        )
    )


def sections_html(made: Sequence[MadeSection]) -> Markup:
    """Return all sections, each with a heading, as a page has them."""
    return Markup.concat(*(_section(place, each) for place, each in enumerate(made)))


def _title(made: MadeSection) -> str:
    return made.plugin if made.section is None else made.section.title


def _section(place: int, made: MadeSection) -> Markup:
    anchor = f"plugin-{place}"
    parts = [tag("h2", _title(made), id=f"{anchor}-head")]
    section = made.section
    if section is None:
        assert made.error is not None
        why = f"Section {made.plugin} is left out: {safe_str(made.error)}"
        parts.append(tag("p", why, css="empty"))
    else:
        parts += [tag("p", text) for text in section.text.split("\n\n") if text.strip()]
        rows, more = section.shown_rows()
        figures = [head[:1] == "#" for head in section.heads]
        parts.append(
            table(
                section.title,
                section.heads,
                [
                    [
                        number(text) if is_figure else cell(text)
                        for text, is_figure in zip(row, figures, strict=True)
                    ]
                    for row in rows
                ],
            )
        )
        if more:
            parts.append(tag("p", f"{more:,} more rows.", css="note"))
        parts.append(tag("p", f"From {made.plugin}.", css="note"))
    return tag("section", Markup.concat(*parts), id=anchor, aria_labelledby=f"{anchor}-head")
