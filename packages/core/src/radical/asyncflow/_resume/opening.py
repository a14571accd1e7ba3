"""Open the journal of an engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._discovery.settings import JOURNAL
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .._dispatch.background import Background
    from .._dispatch.outbox import Outbox
    from .._dispatch.outcomes import Outcomes
    from .._dispatch.run import Run
    from ..journal import Journal
    from .recorder import Recorder

__all__ = ["journal_of", "open_journal"]


def journal_of(given: object) -> Journal | None:
    """Return the journal that was given, or else the one that the environment names.

    Raises:
        ConfigurationError: *given* is neither a path nor a `Journal`.
    """
    given = given if given is not None else os.environ.get(JOURNAL) or None
    if given is None:
        return None
    from ..journal import Journal  # here, because most programs have none

    if isinstance(given, Journal):
        return given
    if isinstance(given, str | os.PathLike) and (path := os.fspath(given)):
        return Journal(path)
    raise ConfigurationError(f"journal must be a path or a Journal, not {given!r}")


async def open_journal(
    run: Run, background: Background, outcomes: Outcomes, outbox: Outbox, journal: Journal
) -> Recorder:
    """Open *journal*, and let *run* write to it and look up its tasks in it.

    Raises:
        JournalError: the journal cannot be used.
    """
    from .recorder import Recorder

    recorder = Recorder(run, background, outcomes, outbox, journal)
    await recorder.open()
    run.journal = recorder
    run.recall = recorder.look_up
    return recorder
