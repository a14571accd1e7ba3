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
from ._output import debug_option
from ._record import LAST, find_run, journal_option

if TYPE_CHECKING:
    from ..journal import RunRecord

__all__ = ["report"]

SUFFIXES = {".html": "html", ".htm": "html", ".csv": "csv", ".json": "trace"}
ENDINGS = {"html": ".html", "csv": ".csv", "trace": ".trace.json"}


@click.command()
@click.argument("run", default=LAST)
@journal_option
@click.option("-o", "--output", metavar="FILE", help="Where to; - for stdout.")
@click.option(
    "--format",
    "kind",
    type=click.Choice([*ENDINGS]),
    help="A page (the default), a table, or a trace for Perfetto; else FILE's ending says it.",
)
@debug_option
def report(run: str, journal: str | None, output: str | None, kind: str | None) -> None:
    """Report RUN: a run's uid or its beginning, "last" (the default), or a journal.

    The page is one file that loads nothing from anywhere.  Without -o it is called after
    the run, in the current folder.
    """
    from .. import report as reports

    if kind is None:
        kind = SUFFIXES.get(Path(output).suffix.lower()) if output not in (None, "-") else "html"
        if kind is None:
            raise ConfigurationError(
                f"the ending of {output} says nothing of a format: add --format html, csv or trace"
            )
    _, chosen = find_run(run, journal)
    render: Callable[[RunRecord], str] = {
        "html": reports.render_html,
        "csv": reports.render_csv,
        "trace": reports.render_trace,
    }[kind]
    # Half of a surrogate pair, as odd file names bring along, has no UTF-8.
    data = render(chosen).encode("utf-8", "backslashreplace")
    if output == "-":
        sys.stdout.buffer.write(data)
        return
    if output is None:
        output = re.sub(r"[^\w.-]+", "_", chosen.uid).lstrip(".") + ENDINGS[kind]
    _write(Path(output), data)
    click.echo(output)


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing.

    Raises:
        ConfigurationError: it cannot be written there.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe, or /dev/stdout
            path.write_bytes(data)
            return
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            mask = os.umask(0)
            os.umask(mask)
            Path(part).chmod(0o666 & ~mask)
            Path(part).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(part).unlink()
            raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"{path} cannot be written: {reason}") from error
