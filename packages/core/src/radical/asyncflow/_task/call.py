"""What all calls of one task have in common, looked up once and shared by their futures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import DEFAULT_RESOURCES, TaskKind, TaskSpec

if TYPE_CHECKING:
    from .._dispatch.dispatcher import Dispatcher
    from ..backend._lane import Lane

__all__ = ["Call"]


class Call:
    """A task of one engine, on the backend that runs it.

    Attributes:
        lane: where it runs; None for a block.
        native: its lane can order its calls among others by itself.
        remote: its lane may keep its results.
        plain: it is a function, so that no body has to run in the loop.
        link: it is one that asks for nothing, so that it may go on where another ended.
        leads: and others may go on behind it: it has one attempt.
    """

    __slots__ = ("dispatcher", "lane", "leads", "link", "native", "plain", "remote", "spec")

    def __init__(self, dispatcher: Dispatcher, spec: TaskSpec, lane: Lane | None) -> None:
        self.dispatcher = dispatcher
        self.spec = spec
        self.lane = lane
        self.plain = spec.kind is TaskKind.FUNCTION
        self.link = self.plain and spec.resources == DEFAULT_RESOURCES
        self.leads = self.link and spec.retries is None
        self.remote = lane is not None and lane.remote
        # With a journal a result is to be in the file before anything counts on it.
        self.native = (
            lane is not None
            and lane.native
            and self.plain
            and spec.retries is None
            and dispatcher.journal is None
        )
