"""The properties that all calls of one task share, looked up once for all their futures."""

from __future__ import annotations

from ..backend._lane import Lane
from ..model import DEFAULT_RESOURCES, TaskKind, TaskSpec
from .owner import Owner

__all__ = ["Call"]


class Call:
    """A task of one engine, on the backend that runs it.

    Attributes:
        owner: the machinery of its engine.
        spec: its options.
        lane: the backend that runs it; None for a block.
        native: True if its lane can order its calls among others by itself.
        remote: True if its lane may keep its results.
        in_context: True if its function or its body runs in the context of the call.
        plain: True for a function, because then no body has to run in the loop.
        may_follow: True for a function without resources: it may run where the only task
            that it waits for ended.
        may_chain: True if, moreover, others may follow it, because it has only one attempt.

    Args:
        recorded: True if the run has a journal.
    """

    __slots__ = (
        "in_context",
        "lane",
        "may_chain",
        "may_follow",
        "native",
        "owner",
        "plain",
        "remote",
        "spec",
    )

    def __init__(self, owner: Owner, spec: TaskSpec, lane: Lane | None, *, recorded: bool) -> None:
        self.owner = owner
        self.spec = spec
        self.lane = lane
        self.plain = spec.kind is TaskKind.FUNCTION
        self.may_follow = self.plain and spec.resources == DEFAULT_RESOURCES
        self.may_chain = self.may_follow and spec.retries is None
        self.remote = lane is not None and lane.remote
        self.in_context = not self.plain or (lane is not None and lane.contexts)
        # With a journal a result has to be in the file before another task uses it.
        self.native = (
            lane is not None
            and lane.native
            and self.plain
            and spec.retries is None
            and not recorded
        )
