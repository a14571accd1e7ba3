"""What the journal knows of one task while its future lives."""

from __future__ import annotations

__all__ = ["Entry"]


class Entry:
    """What the journal knows of one task; times are seconds since the run began.

    Attributes:
        after: numbers of the tasks among its arguments.
        key: its identity as it stands in the file; None if it has none.
        known: it was looked up already.
        stored: its result is in the file, so that its key may stand for the result.
        reused: the task of an earlier run whose result it was given, ``"RUN/NUMBER"``.
        why: why it was not given one, where that is known.
        given_up: it was ended while its result was on the way to the file.
    """

    __slots__ = (
        "added",
        "after",
        "given_up",
        "key",
        "known",
        "ready",
        "reused",
        "started",
        "stored",
        "why",
        "worker",
    )

    def __init__(self, added: float, after: tuple[int, ...]) -> None:
        self.added = added
        self.after = after
        self.ready: float | None = None
        self.started: float | None = None
        self.worker: str | None = None
        self.key: str | None = None
        self.reused: str | None = None
        self.why: str | None = None
        self.known = self.stored = self.given_up = False

    def cancel(self) -> None:
        """The result need not be waited for any more; named as an `asyncio.Task` has it."""
        self.given_up = True
