"""Draw the life of a task from its transition table, while Sphinx builds the pages.

The comment ``<!-- state diagram -->`` in a page is replaced by the diagram.  Forward
transitions are arcs above the line of states; transitions back are arcs below it.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from radical.asyncflow.model import TaskState
from radical.asyncflow.model._states import TRANSITIONS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARK = "<!-- state diagram -->"

STATE_DISTANCE = 150  # from one state to the next, in units of the drawing
BOX = (112, 34)  # width and height of a state
LIFT = 36  # the height that an arc gains for each state that it passes over
BASE = LIFT * (len(TaskState) - 1) + 10
COLOURS = {"DONE": "#2e7d32", "FAILED": "#c62828", "CANCELLED": "#ef6c00"}


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect this extension to Sphinx, which calls this."""
    app.connect("source-read", replace)
    return {"parallel_read_safe": True}


def replace(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Replace the mark in a page by the picture and the table."""
    if MARK in source[0]:
        source[0] = source[0].replace(MARK, f"<div>{svg()}</div>\n\n{table()}")


def table() -> str:
    """Return the table of states in Markdown: what users see, and which states may follow."""
    rows = ["| state | users see | may be followed by |", "| --- | --- | --- |"]
    for state, following in TRANSITIONS.items():
        names = ", ".join(item.name for item in sorted(following)) or "nothing: it is final"
        rows.append(f"| {state.name} | {state.public} | {names} |")
    return "\n".join(rows)


def svg() -> str:
    """Return the table as an SVG picture."""
    width = STATE_DISTANCE * (len(TaskState) - 1) + BOX[0] + 20
    height = BASE + BOX[1] + LIFT * 3
    parts = [_arc(old, new) for old in TRANSITIONS for new in sorted(TRANSITIONS[old])]
    parts += [_box(state) for state in TaskState]
    label = "The states of a task; arcs above go forward, arcs below go back"
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" '
        'style="max-width:100%;font-family:sans-serif">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#78909c"/></marker></defs>'
        + "".join(parts)
        + "</svg>"
    )


def _middle(state: TaskState) -> int:
    return 10 + BOX[0] // 2 + STATE_DISTANCE * state


def _arc(old: TaskState, new: TaskState) -> str:
    forward = new > old
    edge = BASE if forward else BASE + BOX[1]
    lift = LIFT * max(abs(new - old), 1) * (1 if forward else -1)
    # Arcs leave on the right of a box and arrive on its left, so that they do not overlap.
    shift = BOX[0] // 4
    start, end = _middle(old) + shift, _middle(new) - shift
    colour = COLOURS.get(new.name, "#78909c")
    path = f"M{start} {edge} C{start} {edge - lift} {end} {edge - lift} {end} {edge}"
    title = escape(f"{old.name} → {new.name}")
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5" '
        f'marker-end="url(#tip)"><title>{title}</title></path>'
    )


def _box(state: TaskState) -> str:
    colour = COLOURS.get(state.name, "#1565c0")
    left, middle = _middle(state) - BOX[0] // 2, BASE + BOX[1] // 2
    return (
        f'<rect x="{left}" y="{BASE}" width="{BOX[0]}" height="{BOX[1]}" rx="6" fill="{colour}"/>'
        f'<text x="{_middle(state)}" y="{middle + 5}" text-anchor="middle" fill="#fff" '
        f'font-size="14">{state.name}</text>'
    )
