"""A small drawing of a graph as SVG, for notebooks: the levels from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .._html import Markup, tag
from .._text import shorten

__all__ = ["Box", "draw"]

WIDTH = 132  # of a box; all lengths are in pixels
HEIGHT = 26
GAP = 14
BETWEEN = 34  # from one level to the next
MOST_IN_A_ROW = 8
LABEL_CHARS = 20


class Box(NamedTuple):
    """One node of the drawing: its text, and the level it stands on, from 0."""

    label: str
    level: int


def draw(boxes: Sequence[Box], edges: Sequence[tuple[int, int]], title: str) -> Markup:
    """Return the graph as one ``svg`` element, in the colour of the text around it.

    Args:
        edges: pairs of places in *boxes*; the second box depends on the first.
        title: what a screen reader calls the drawing.
    """
    rows: list[list[int]] = []
    for level in sorted({box.level for box in boxes}):
        there = [place for place, box in enumerate(boxes) if box.level == level]
        rows += [there[at : at + MOST_IN_A_ROW] for at in range(0, len(there), MOST_IN_A_ROW)]
    widest = max(map(len, rows), default=0)
    width = widest * (WIDTH + GAP) + GAP
    height = len(rows) * (HEIGHT + BETWEEN) - BETWEEN + 2 * GAP
    corners: dict[int, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        left = (width - len(row) * (WIDTH + GAP) + GAP) / 2
        for at, place in enumerate(row):
            corners[place] = (left + at * (WIDTH + GAP), GAP + number * (HEIGHT + BETWEEN))
    lines = [_line(corners[source], corners[target]) for source, target in edges]
    nodes = [_node(box.label, *corners[place]) for place, box in enumerate(boxes)]
    return tag(
        "svg",
        Markup.concat(*lines, *nodes),
        viewBox=f"0 0 {width} {height}",
        width=f"{width}",
        style="max-width: 100%; height: auto; color: inherit",
        role="img",
        aria_label=title,
    )


def _line(source: tuple[float, float], target: tuple[float, float]) -> Markup:
    (left, top), (right, bottom) = source, target
    left, right, top = left + WIDTH / 2, right + WIDTH / 2, top + HEIGHT
    bend = (bottom - top) / 2
    path = f"M{left:g} {top:g}C{left:g} {top + bend:g} {right:g} {bottom - bend:g} "
    return tag(
        "path",
        "",
        d=f"{path}{right:g} {bottom:g}",
        fill="none",
        stroke="currentColor",
        stroke_opacity="0.45",
    )


def _node(label: str, left: float, top: float) -> Markup:
    box = tag(
        "rect",
        "",
        x=f"{left:g}",
        y=f"{top:g}",
        width=f"{WIDTH}",
        height=f"{HEIGHT}",
        rx="4",
        fill="currentColor",
        fill_opacity="0.08",
        stroke="currentColor",
    )
    text = tag(
        "text",
        shorten(label, LABEL_CHARS),
        x=f"{left + WIDTH / 2:g}",
        y=f"{top + HEIGHT / 2 + 4:g}",
        text_anchor="middle",
        font_size="11",
        font_family="sans-serif",
        fill="currentColor",
    )
    return tag("g", Markup.concat(tag("title", label), box, text))
