"""``asyncflow report``: a run as a page, a table or a trace."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
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
@click.option(
    "--store",
    metavar="NAME[:TEXT]",
    help="Hand the file to the artifact store of a plugin; TEXT is for the store.",
    shell_complete=completer("stores"),
)
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
@debug_option
def report(
    run: str,
    journal: str | None,
    output: str | None,
    kind: str | None,
    store: str | None,
    show: bool,
) -> None:
    """Write a run as a page, a table or a trace.

    RUN is the uid of a run or its beginning, "last" (the default), or a journal.  The page is
    one file that needs no others.  Without -o the report gets the name of the run, in the
    current folder, or goes into the artifact store.
    """

    if kind is None:
        kind = _format_of(output)
    if show and (kind != "html" or output == "-"):
        raise click.UsageError("--open is for a page in a file: leave --format and -o - out")
    if store is not None and (show or output == "-"):
        raise click.UsageError("--store takes a file: leave --open and -o - out")
    put = None
    if store is not None:
        from ._store import open_store

        put = open_store(store)
    _, chosen = find_run(run, journal)
    # Half of a surrogate pair, as it occurs in odd file names, cannot be written as UTF-8.
    data = _render(chosen, kind).encode("utf-8", "backslashreplace")
    if output == "-":
        sys.stdout.buffer.write(data)
        return
    name = output or re.sub(r"[^\w.-]+", "_", chosen.uid).lstrip(".") + SUFFIXES[kind]
    if put is not None and output is None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            _write(path, data)
            click.echo(put(chosen.uid, path))
        return
    _write(Path(name), data)
    click.echo(name)
    if put is not None:
        click.echo(put(chosen.uid, Path(name).absolute()))
    if show:
        _open(Path(name).absolute())


def _render(run: RunRecord, kind: str) -> str:
    from .. import report as reports
    from ._sections import plugin_sections

    if kind == "html":
        return reports.render_html(run, plugin_sections(run))
    return reports.render_csv(run) if kind == "csv" else reports.render_trace(run)


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
