"""What all calls of one task have in common, looked up once and shared by their futures."""

from __future__ import annotations

from ..backend._lane import Lane
from ..model import DEFAULT_RESOURCES, TaskKind, TaskSpec
from .owner import Owner

__all__ = ["Call"]


class Call:
    """A task of one engine, on the backend that runs it.

    Attributes:
        owner: the machinery of its engine.
        lane: where it runs; None for a block.
        native: its lane can order its calls among others by itself.
        remote: its lane may keep its results.
        plain: it is a function, so that no body has to run in the loop.
        may_follow: it is one that asks for nothing, so that it may go on where the only
            task that it waits for ended.
        may_chain: and others may go on behind it: it has one attempt.
    """

    __slots__ = ("lane", "may_chain", "may_follow", "native", "owner", "plain", "remote", "spec")

    def __init__(self, owner: Owner, spec: TaskSpec, lane: Lane | None, *, recorded: bool) -> None:
        """With *recorded* the run has a journal."""
        self.owner = owner
        self.spec = spec
        self.lane = lane
        self.plain = spec.kind is TaskKind.FUNCTION
        self.may_follow = self.plain and spec.resources == DEFAULT_RESOURCES
        self.may_chain = self.may_follow and spec.retries is None
        self.remote = lane is not None and lane.remote
        # With a journal a result is to be in the file before anything counts on it.
        self.native = (
            lane is not None
            and lane.native
            and self.plain
            and spec.retries is None
            and not recorded
        )
