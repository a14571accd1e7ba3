"""A list of any number of rows, of which only the visible ones are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ._tables import Cell, Column, Table

__all__ = ["RowList", "widths_of"]

SHIFT = 16
"""The characters by which left and right move the last column."""

CURSOR = Style(reverse=True)


def widths_of(columns: Sequence[Column], width: int) -> list[int]:
    """Return the width of each column, of *width* in all; those that do not fit have none."""
    left = width - 1
    least = 12
    widths = [0] * len(columns)
    flexible = [at for at, column in enumerate(columns) if not column.width]
    left -= (least + 1) * len(flexible)
    for at, column in enumerate(columns):
        if column.width and column.width + 1 <= left:
            widths[at] = column.width
            left -= column.width + 1
    for at in flexible:
        widths[at] = least + max(left, 0) // len(flexible)
    return widths


class RowList(ScrollView):
    """The rows of a table, with a cursor; it makes those that are visible when it draws them."""

    can_focus = True
    BINDINGS: ClassVar[list[Any]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup,ctrl+b", "page(-1)", show=False),
        Binding("pagedown,space,ctrl+f", "page(1)", show=False),
        Binding("home,g", "first", show=False),
        Binding("end,G", "last", show=False),
        Binding("left", "shift(-1)", show=False),
        Binding("right", "shift(1)", show=False),
        Binding("enter", "choose", show=False),
    ]
    DEFAULT_CSS = """
    RowList {
        height: 1fr;
        scrollbar-size-horizontal: 0;
        scrollbar-background: ansi_default;
        scrollbar-background-hover: ansi_default;
        scrollbar-background-active: ansi_default;
        scrollbar-color: ansi_bright_black;
    }
    """

    class Chosen(Message):
        """The row *at* was chosen."""

        def __init__(self, at: int) -> None:
            super().__init__()
            self.at = at

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table
        self.cursor = 0
        self.follows = False
        self._shift = 0

    def show(self, table: Table, cursor: int = 0, *, follows: bool = False) -> None:
        """Show *table* from now on, with the cursor in the row *cursor*."""
        self.table = table
        self.cursor = cursor
        self.follows = follows
        self._shift = 0
        self.update_rows()
        self.scroll_to(y=max(0, self.cursor - self.size.height // 2), animate=False, force=True)
        self._show_cursor()

    def update_rows(self) -> None:
        """Take in what has changed, and draw it."""
        self.table.update()
        number = len(self.table)
        self.virtual_size = Size(0, number)
        self.cursor = number - 1 if self.follows else self.cursor
        self.cursor = max(0, min(self.cursor, number - 1))
        if self.follows:
            self._show_cursor()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return the line *y* of what is visible."""
        width = self.size.width
        at = y + self.scroll_offset.y
        if at >= len(self.table):
            text = self.table.empty if not len(self.table) and y == 1 else ""
            return Strip([Segment(set_cell_size(f"  {text}", width), Style(dim=True))], width)
        return self.line_of(self.table.row(at), chosen=at == self.cursor and self.has_focus)

    def line_of(self, cells: Sequence[Cell], *, chosen: bool = False) -> Strip:
        """Return one line with *cells* in their columns."""
        width = self.size.width
        widths = widths_of(self.table.columns, width)
        segments = [Segment(" ")]
        for column, room, cell in zip(self.table.columns, widths, cells, strict=True):
            if not room:
                continue
            text = cell.text[self._shift :] if not column.width else cell.text
            if cell_len(text) > room and column.width:
                text = f"{text[: room - 1]}…"
            text = text.rjust(room) if column.right else text
            style = Style.parse(cell.style) if cell.style else Style.null()
            segments += [Segment(set_cell_size(text, room), style), Segment(" ")]
        strip = Strip(segments).adjust_cell_length(width)
        return strip.apply_style(CURSOR) if chosen else strip

    # ----------------------------------------------------------------- actions

    def action_move(self, steps: int) -> None:
        """Move the cursor."""
        self._go(self.cursor + steps)

    def action_page(self, pages: int) -> None:
        """Move the cursor by pages."""
        self._go(self.cursor + pages * max(self.size.height - 1, 1))

    def action_first(self) -> None:
        """Go to the first row."""
        self._go(0)

    def action_last(self) -> None:
        """Go to the last row."""
        self._go(len(self.table) - 1)

    def action_shift(self, steps: int) -> None:
        """Move the last column sideways, for what is too long."""
        self._shift = max(0, self._shift + steps * SHIFT)
        self.refresh()

    def action_choose(self) -> None:
        """Choose the row of the cursor."""
        if len(self.table):
            self.post_message(self.Chosen(self.cursor))

    def on_click(self, event: events.Click) -> None:
        """Go to the row that was clicked; choose it if it is the one of the cursor."""
        at = event.y + self.scroll_offset.y
        if at >= len(self.table):
            return
        if at == self.cursor:
            self.action_choose()
        else:
            self._go(at)

    def _go(self, at: int) -> None:
        self.follows = False
        self.cursor = max(0, min(at, len(self.table) - 1))
        self._show_cursor()
        self.refresh()

    def _show_cursor(self) -> None:
        self.scroll_to_region(
            Region(0, self.cursor, 1, 1), animate=False, force=True, immediate=True
        )
