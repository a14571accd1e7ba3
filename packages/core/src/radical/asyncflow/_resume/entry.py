"""What the journal knows of one task while its future lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bodies import Body

__all__ = ["Entry"]


class Entry:
    """What the journal knows of one task; times are seconds since the run began.

    Attributes:
        body: its function.
        scope: the block that called it, as `Occurrences` names it; "" for none.
        inner_scope: of a block: the scope of those that it calls.
        after: numbers of the tasks among its arguments.
        arguments: as a text, where the journal is to have them.
        key: its identity as it stands in the file; None if it has none.
        known: it was looked up already.
        stored: its result is in the file, so that its key may stand for the result.
        reused: the task of an earlier run whose result it was given, ``"RUN/NUMBER"``.
        why: why it was not given one, where that is known.
        waiting: it is done, and its future waits for that to be in the file.
    """

    __slots__ = (
        "added",
        "after",
        "arguments",
        "body",
        "inner_scope",
        "key",
        "known",
        "ready",
        "reused",
        "scope",
        "started",
        "stored",
        "waiting",
        "why",
        "worker",
    )

    def __init__(self, body: Body, added: float, after: tuple[int, ...], scope: str) -> None:
        self.body = body
        self.scope = scope
        self.inner_scope = ""
        self.arguments: str | None = None
        self.added = added
        self.after = after
        self.ready: float | None = None
        self.started: float | None = None
        self.worker: str | None = None
        self.key: str | None = None
        self.reused: str | None = None
        self.why: str | None = None
        self.known = self.stored = self.waiting = False
