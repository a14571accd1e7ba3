"""The properties that all calls of one task share, looked up once for all their futures."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..backend._lane import Lane
from ..model import DEFAULT_RESOURCES, Resources, RetryPolicy, TaskKind, TaskSpec
from .owner import Owner

if TYPE_CHECKING:
    from .._display.census import Counts

__all__ = ["Call"]


class Call:
    """A task of one engine, on the backend that runs it.

    Attributes:
        owner: the machinery of its engine.
        spec: its options.
        asked: those that were asked for, without what only holds on this lane.
        lane: the backend that runs it; None for a block.
        special: True if its future is of a class of its own: its lane may keep its results, or
            it is a service.
        native: True if its lane can order its calls among others by itself.
        remote: True if its lane may keep its results.
        in_context: True if its function or its body runs in the context of the call.
        plain: True for a function, because then no body has to run in the loop.
        simple: True for a function without a priority above that of most tasks.
        urgent: True if its priority is above that of most tasks.
        may_follow: True for a function without resources: it may run where the only task
            that it waits for ended.  Not if it has a priority below that of most tasks:
            what was called later may go before it.
        others: the same task with the resources that other attempts ask for, by resources;
            None until there are any.
        may_chain: True if, moreover, others may follow it, because it has only one attempt.
        counts: counts its calls for displays; None until one does.

    Args:
        recorded: True if the run has a journal.
    """

    __slots__ = (
        "asked",
        "counts",
        "in_context",
        "lane",
        "may_chain",
        "may_follow",
        "native",
        "others",
        "owner",
        "plain",
        "remote",
        "simple",
        "spec",
        "special",
        "urgent",
    )

    def __init__(self, owner: Owner, spec: TaskSpec, lane: Lane | None, *, recorded: bool) -> None:
        self.owner = owner
        self.spec = self.asked = spec
        self.others: dict[Resources, Call] | None = None
        self.counts: Counts | None = None
        self.lane = lane
        self.plain = spec.kind is TaskKind.FUNCTION
        self.urgent = spec.priority > 0
        self.simple = self.plain and not self.urgent
        usual = spec.resources == DEFAULT_RESOURCES and spec.priority >= 0
        self.may_follow = self.plain and usual and not spec.service
        self.may_chain = self.may_follow and spec.retries is None
        self.remote = lane is not None and lane.remote and not spec.service
        self.special = self.remote or spec.service
        self.in_context = not self.plain or (lane is not None and lane.contexts)
        # With a journal a result has to be in the file before another task uses it.
        self.native = (
            lane is not None
            and lane.native
            and self.plain
            and spec.retries is None
            and not spec.service
            and not recorded
        )

    def with_retries(self, retries: RetryPolicy | None) -> Call:
        """Return the same task with other retries."""
        made: Call = self.owner.bind(dataclasses.replace(self.asked, retries=retries))
        return made

    def for_attempt(self, attempt: int) -> Call:
        """Return the same task with the resources that *attempt* asks for.

        Raises:
            ConfigurationError: its backend cannot give so much, or the function that gives the
                resources is wrong.
        """
        spec = self.spec
        resources = spec.resources if spec.resources_of is None else spec.resources_of(attempt)
        if resources == spec.resources:
            return self
        if self.others is None:
            self.others = {spec.resources: self}
        if resources not in self.others:
            asked = dataclasses.replace(self.asked, resources=resources)
            made: Call = self.owner.bind(asked, self.lane)
            made.others = self.others
            self.others[resources] = made
        return self.others[resources]
