"""The journal's knowledge of one task while its future lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model import TaskTrace
    from .bodies import Body
    from .outside import Fact

__all__ = ["Entry"]


class Entry:
    """The journal's knowledge of one task; times are seconds since the run began.

    Attributes:
        body: its function.
        scope: the scope of the block that called it, as `Occurrences` makes it; "" for none.
        inner_scope: for a block, the scope of the tasks that it calls.
        after: the numbers of the tasks among its arguments.
        block: the number of the block that called it, or None.
        backend: that of the last attempt that began, or "".
        arguments: its arguments as text, if the journal is to have them.
        key: its identity as it is written in the file; None if it has none.
        known: True once it was looked up.
        facts: what its result depends on outside of the program: before it is sent, what its
            ``uses`` declares; once the result is in the file, all of it.
        named: what its command names, as it was before the command began.
        stored: True once its result is in the file, so that its key may stand for the result.
        reused: the task of an earlier run whose result it got, ``"RUN/NUMBER"``.
        why: the reason why it got none, if that is known.
        trace: what its last attempt left behind beside its result, as far as that is known.
        waiting: True while it is done and its future waits until that is in the file.
    """

    __slots__ = (
        "added",
        "after",
        "arguments",
        "backend",
        "block",
        "body",
        "facts",
        "inner_scope",
        "key",
        "known",
        "named",
        "ready",
        "reused",
        "scope",
        "started",
        "stored",
        "trace",
        "waiting",
        "why",
        "worker",
    )

    def __init__(self, body: Body, added: float, after: tuple[int, ...], scope: str) -> None:
        self.body = body
        self.scope = scope
        self.inner_scope = ""
        self.block: int | None = None
        self.backend = ""
        self.arguments: str | None = None
        self.added = added
        self.after = after
        self.ready: float | None = None
        self.started: float | None = None
        self.worker: str | None = None
        self.key: str | None = None
        self.facts: tuple[Fact, ...] = ()
        self.named: tuple[Fact, ...] = ()
        self.reused: str | None = None
        self.why: str | None = None
        self.trace: TaskTrace | None = None
        self.known = self.stored = self.waiting = False
