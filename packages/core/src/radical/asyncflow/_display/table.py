"""The counts of a run as a table that fits the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .._text import duration, printable
from .pace import busy_text, percent, rate_text
from .tally import Row, Tally

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

__all__ = ["ASCII_SIGNS", "SIGNS", "STYLES", "render"]

MAX_ROWS = 20
"""The most names that the table shows; the height of the terminal may allow fewer."""

OTHER_LINES = 7
"""Lines of the terminal for the head, the total, the slots, and some of what was printed above."""

MIN_NAME = 12
"""Columns of the terminal that a name gets at least; a longer one is cut in its middle."""

GOOD_NAME = 26
"""Columns that a name gets, if it needs them, before the bar and the rates have any."""

MIN_BAR, MAX_BAR = 8, 24

MIN_TIME = 7
"""Columns for a time or a rate, so that the others do not move with each digit."""

GAP = 2

STYLES = {
    "pending": "",
    "running": "cyan",
    "done": "green",
    "reused": "blue",
    "failed": "bold red",
    "cancelled": "yellow",
    "retried": "magenta",
}

_COLUMNS = ("bar", "%", *STYLES, "rate", "time", "left")
"""The columns after the name, from left to right."""

_BY_NEED = (
    *("%", "running", "done", "failed", "left", "pending", "reused", "cancelled", "retried"),
    *("bar", "rate", "time"),
)
"""The columns as they are given up on a narrow terminal, the last one first."""

_RARE = frozenset(("reused", "failed", "cancelled", "retried"))
"""Columns that are there only if they count something."""

Line = tuple[str, str, Row]
"""A name, its style, and the counts."""


class Signs(NamedTuple):
    """The characters of the table that not every terminal has."""

    ended: str
    left: str
    cut: str


SIGNS = Signs("━", "─", "…")
ASCII_SIGNS = Signs("#", "-", "~")


def render(
    tally: Tally,
    slots: Mapping[str, int | None],
    size: tuple[int, int],
    now: float,
    signs: Signs = SIGNS,
) -> RenderableType:
    """Return the table for a terminal of the *size*, its columns and lines.

    Args:
        slots: the names of the backends that are up, with how many cores tasks can use there.
    """
    from rich.console import Group
    from rich.text import Text

    width, height = size
    lines = _choose_lines(tally, now, max(3, min(MAX_ROWS, height - OTHER_LINES)))
    texts = [_texts(row, now) for _, _, row in lines]
    names = [printable(name) for name, _, _ in lines]
    name_width, widths = _widths(names, texts, width)
    head = Text(f"{'task':<{name_width}}", "bold")
    for column, needed in widths.items():
        head.append(" " * GAP + f"{'' if column == 'bar' else column:>{needed}}")
    drawn = [head]
    for name, (_, style, row), cells in zip(names, lines, texts, strict=True):
        line = Text.assemble((_fit(name, name_width, signs), style))
        for column, needed in widths.items():
            line.append(" " * GAP)
            if column == "bar":
                line.append_text(_bar(row, needed, signs))
            else:
                shown = STYLES.get(column, "") if cells[column] != "0" else "dim"
                line.append(f"{cells[column]:>{needed}}", shown)
        drawn.append(line)
    if busy := _busy(tally, slots):
        drawn.append(Text(_fit(busy, width, signs), "dim"))
    return Group(*drawn)


def _choose_lines(tally: Tally, now: float, room: int) -> list[Line]:
    """Return the names and counts that are shown, the total last."""
    rows = [*tally.rows.items()]
    hidden = [tally.others] if tally.others else []
    left_out = 0
    if len(rows) > room:
        # A stable sort: what runs, then what waits, then what has ended, the latest first.
        rows.sort(key=lambda item: (not item[1].running, not item[1].unfinished, -item[1].latest))
        left_out = len(rows) - room
        hidden += [row for _, row in rows[room:]]
        rows = rows[:room]
    shown = [(f"block {name}" if row.is_block else name, "", row) for name, row in rows]
    if hidden:
        label = "(other names)" if tally.others else f"({left_out} other names)"
        shown.append((label, "dim", Row.sum(hidden)))
    if len(shown) > 1:
        shown.append(("total", "bold", tally.total(now)))
    return shown


def _texts(row: Row, now: float) -> dict[str, str]:
    """Return the text of each column but the bar."""
    left = row.left(now)
    return {
        "%": percent(row.ended, row.total),
        **{state: f"{getattr(row, state)}" for state in STYLES},
        "rate": rate_text(row.rate(now)),
        "time": duration(row.elapsed(now)),
        "left": "-" if left is None else duration(left),
    }


def _widths(
    names: Sequence[str], texts: Sequence[Mapping[str, str]], width: int
) -> tuple[int, dict[str, int]]:
    """Return the widths of the names and of the columns that fit into *width*."""
    from rich.cells import cell_len

    longest = max([MIN_NAME, *map(cell_len, names)])
    name = MIN_NAME
    free = width - MIN_NAME
    chosen: dict[str, int] = {}
    for column in _BY_NEED:
        if column == "bar":  # from here on, a readable name is worth more
            more = max(0, min(free, longest - name, GOOD_NAME - name))
            name, free = name + more, free - more
        if column in _RARE and all(cells[column] == "0" for cells in texts):
            continue
        needed = MIN_BAR
        if column != "bar":
            least = MIN_TIME if column in ("rate", "time", "left") else len(column)
            needed = max(least, *(len(cells[column]) for cells in texts))
        if needed + GAP <= free:
            chosen[column] = needed
            free -= needed + GAP
    more = max(0, min(free, longest - name))
    if "bar" in chosen:
        chosen["bar"] = min(MAX_BAR, MIN_BAR + free - more)
    widths = {column: chosen[column] for column in _COLUMNS if column in chosen}
    return min(name + more, width), widths


def _bar(row: Row, width: int, signs: Signs) -> Text:
    """Return a bar with the parts of the tasks that are reused, done, failed and running."""
    from rich.text import Text

    bar = Text()
    parts = (
        (row.reused, signs.ended, STYLES["reused"]),
        (row.done - row.reused, signs.ended, STYLES["done"]),
        (row.failed + row.cancelled, signs.ended, STYLES["failed"]),
        (row.running, signs.left, STYLES["running"]),
        (row.pending, signs.left, "dim"),
    )
    counted = drawn = 0
    for many, sign, style in parts:
        counted += many
        upto = width * counted // row.total if row.total else 0
        bar.append(sign * (upto - drawn), style)
        drawn = upto
    bar.append(signs.left * (width - drawn), "dim")
    return bar


def _busy(tally: Tally, slots: Mapping[str, int | None]) -> str:
    """Return how many slots of each backend are busy."""
    words = [
        f"{printable(name)} {busy_text(tally.busy[name], most)}" for name, most in slots.items()
    ]
    return "busy slots: " + ", ".join(words) if words else ""


def _fit(text: str, width: int, signs: Signs) -> str:
    """Return *text* with exactly *width* columns of the terminal; a long one is cut in the middle.

    The end of a name often tells it from others.
    """
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return set_cell_size(text, width)
    last = (width - 1) // 2
    tail = text[-last:] if last else ""
    while cell_len(tail) > last:
        tail = tail[1:]
    return set_cell_size(text, width - 1 - cell_len(tail)) + signs.cut + tail
