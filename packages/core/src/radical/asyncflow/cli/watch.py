"""``asyncflow watch``: a run in full screen, while it runs or afterwards."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from ..errors import ConfigurationError
from ._environment import completer
from ._help import examples
from ._lookup import LAST, find_journal, find_run, journal_option
from ._output import debug_option

__all__ = ["watch"]


@click.command(epilog=examples("watch", "watch run.3f2a", "watch --page campaign.journal"))
@click.argument("run", default=LAST, shell_complete=completer("runs"))
@journal_option
@click.option("--page", is_flag=True, help="Serve a live page for a browser instead.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port of the page; 0 for any.")
@debug_option
def watch(run: str, journal: str | None, page: bool, port: int | None) -> None:
    """Watch a run on the whole screen, or as a page.

    RUN is the uid of a run or its beginning, "last" (the default), or a journal.  It is read from
    the journal, so the run may go on in another terminal or on another machine that sees the
    file, or have ended.  Press ? for the keys.
    """
    if page := page or port is not None:
        from .._live._serving import needs

        needs()
    else:
        _check_terminal()

    if journal is None and run != LAST and (os.sep in run or Path(run).is_file()):
        journal, run = run, LAST
    path = find_journal(journal)
    uid = None if run == LAST else find_run(run, path)[1].uid
    if page:
        from .._live._serving import serve_journal

        serve_journal(path, uid, port=port or 0, announce=click.echo)
        return
    from .._live import Follower
    from .._screen._app import WatchApp

    with Follower(path, uid) as follower:
        app = WatchApp(follower)
        app.run()
    if app.error is not None:
        raise app.error


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _check_terminal() -> None:
    """Check that the screen can be shown.

    Raises:
        ConfigurationError: it cannot.
    """
    if find_spec("textual") is None:
        raise ConfigurationError(
            "asyncflow watch needs textual: pip install 'radical.asyncflow[watch]'"
        )
    others = "use asyncflow show, logs and explain --waiting"
    if not _has_terminal():
        raise ConfigurationError(f"asyncflow watch needs a terminal; without one {others}")
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        raise ConfigurationError(
            f"this terminal (TERM={os.environ.get('TERM', '')}) cannot show a full screen; {others}"
        )
