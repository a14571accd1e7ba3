"""The output that all commands share: tables, messages, exit codes, the log on stderr."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from .._text import printable, safe_str

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "WRONG",
    "debug_option",
    "debugging",
    "print_json",
    "print_table",
    "show_log",
    "warn",
    "warn_former",
]

FAILED = 1
"""The exit code when a check failed."""

WRONG = 2
"""The exit code when the command could not do what it was told to."""

INTERRUPTED = 130
"""The exit code after Ctrl-C, as a shell reports it."""

STYLES = {"available": "green", "not-installed": "dim", "ok": "green"}

_DEBUG = "radical.asyncflow.cli.debug"

F = TypeVar("F", bound=Callable[..., Any])


def debug_option(function: F) -> F:
    """Add ``--debug``, which may follow ``asyncflow`` or the name of the command."""

    def note(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.meta[_DEBUG] = value or ctx.meta.get(_DEBUG, False)

    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=note,
        help="Show the tracebacks of errors.",
    )(function)


def debugging() -> bool:
    """Tell whether ``--debug`` was given."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_DEBUG, False))


def warn(text: str, error: BaseException | None = None) -> None:
    """Write *text* and *error* as one line to stderr; with ``--debug`` add the traceback."""
    if error is not None:
        text += f": {safe_str(error)}"
    click.echo(f"{click.style('Warning:', fg='yellow')} {text}", err=True)
    if error is not None and debugging():
        traceback.print_exception(error)


def warn_former(option: str, instead: str) -> None:
    """Warn that the user gave *option*, a former one that still works."""
    warn(f"{option} is deprecated and will be removed in 2.0: write asyncflow {instead}")


class _Log(logging.Handler):
    """The log of the project, as warnings of one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        warn(record.getMessage())
        if error is not None and debugging():
            traceback.print_exception(error)


def show_log() -> None:
    """Show warnings of the project's log in our own way; further calls do nothing."""
    log = logging.getLogger("radical.asyncflow")
    if not any(isinstance(handler, _Log) for handler in log.handlers):
        log.addHandler(_Log(logging.WARNING))
        log.propagate = False


def print_json(value: Any) -> None:
    """Write *value* to stdout."""
    import json

    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # Half of a surrogate pair, as it occurs in odd file names, or letters that stdout lacks.
        text = json.dumps(value, indent=2)
    click.echo(text)


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, indent: int = 0) -> None:
    """Print a table that fits the terminal; into a pipe or a file, one aligned line for each row.

    On a terminal the last column gets the room that is left, and its text is folded.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(heads, cells, indent)
        return
    lines = [list(heads), *cells] if any(heads) else cells
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(" " * indent + text.rstrip())


def _print_rich(heads: Sequence[str], cells: list[list[str]], indent: int) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
        show_header=any(heads),
    )
    console = Console(highlight=False)
    for head, width in zip(heads, _widths(heads, cells, console.width - indent), strict=True):
        table.add_column(head, overflow="fold", width=width)
    for row in cells:
        table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
    console.print(Padding(table, (0, 0, 0, indent)))


def _widths(heads: Sequence[str], cells: list[list[str]], room: int) -> list[int]:
    """Give each column what it needs; shorten the widest until 30 are left for the last one."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
    left = room - 2 * (len(widths) - 1)
    last = min(widths[-1], 30)
    while sum(widths[:-1]) + last > left and max(widths[:-1]) > 8:
        widths[widths.index(max(widths[:-1]))] -= 1
    widths[-1] = max(8, min(widths[-1], left - sum(widths[:-1])))
    return widths
