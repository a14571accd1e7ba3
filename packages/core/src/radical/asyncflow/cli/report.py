"""``asyncflow report``: a run as a page, a table or a trace."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import ConfigurationError
from ._environment import completer
from ._help import examples
from ._lookup import LAST, find_run, journal_option
from ._output import debug_option, warn

if TYPE_CHECKING:
    from ..journal import RunRecord

__all__ = ["report"]

FORMATS_BY_SUFFIX = {".html": "html", ".htm": "html", ".csv": "csv", ".json": "trace"}
SUFFIXES = {"html": ".html", "csv": ".csv", "trace": ".trace.json"}


@click.command(
    epilog=examples("report --open", "report last -o tasks.csv", "report run.3f2a --format trace")
)
@click.argument("run", default=LAST, shell_complete=completer("runs"))
@journal_option
@click.option("-o", "--output", metavar="FILE", help="The file to write; - for stdout.")
@click.option(
    "--format",
    "kind",
    type=click.Choice([*SUFFIXES]),
    help="A page, a table, or a trace for Perfetto; by default as FILE's suffix says, or a page.",
)
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
@debug_option
def report(run: str, journal: str | None, output: str | None, kind: str | None, show: bool) -> None:
    """Write a run as a page, a table or a trace.

    RUN is the uid of a run or its beginning, "last" (the default), or a journal.  The page is
    one file that needs no others.  Without -o the report gets the name of the run, in the
    current folder.
    """
    from .. import report as reports

    if kind is None:
        kind = _format_of(output)
    if show and (kind != "html" or output == "-"):
        raise click.UsageError("--open is for a page in a file: leave --format and -o - out")
    _, chosen = find_run(run, journal)
    render: Callable[[RunRecord], str] = {
        "html": reports.render_html,
        "csv": reports.render_csv,
        "trace": reports.render_trace,
    }[kind]
    # Half of a surrogate pair, as it occurs in odd file names, cannot be written as UTF-8.
    data = render(chosen).encode("utf-8", "backslashreplace")
    if output == "-":
        sys.stdout.buffer.write(data)
        return
    if output is None:
        output = re.sub(r"[^\w.-]+", "_", chosen.uid).lstrip(".") + SUFFIXES[kind]
    _write(Path(output), data)
    click.echo(output)
    if show:
        _open(Path(output).absolute())


def _open(path: Path) -> None:
    """Open *path* in a browser, or say where that does not work how to get it."""
    import webbrowser

    if not webbrowser.open(path.as_uri()):
        warn(f"no browser could be started here: copy {path} to where you have one")


def _format_of(output: str | None) -> str:
    """Return the format that the name of the file *output* asks for.

    Raises:
        ConfigurationError: it asks for none.
    """
    if output in (None, "-"):
        return "html"
    found = FORMATS_BY_SUFFIX.get(Path(output).suffix.lower())
    if found is None:
        raise ConfigurationError(
            f"the name {output} does not tell the format: add --format html, csv or trace"
        )
    return found


def _write(path: Path, data: bytes) -> None:
    """Write *data* to *path*, all of it or nothing; only the owner may read the file.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe, or /dev/stdout
            path.write_bytes(data)
            return
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(part).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(part).unlink()
            raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"{path} cannot be written: {reason}") from error
