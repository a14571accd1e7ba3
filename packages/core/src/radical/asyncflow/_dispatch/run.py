"""What one run consists of, and what its journal has to do for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .._graph.scheduler import Scheduler
from .._task.future import TaskFuture
from ..backend import AnyReport
from ..backend._inbox import Inbox
from ..backend._lane import Lane
from ..model import TaskState

if TYPE_CHECKING:
    from .._watch.carriage import Carriage
    from .._watch.observers import Observers

__all__ = ["Gate", "Journaling", "Run"]

Gate = Callable[[TaskFuture[Any]], bool]
"""Is asked before a task is sent: True keeps it here."""


class Journaling(Protocol):
    """What the machinery tells the journal; *when* is the time of what is told, or None for now.

    Times are seconds of `time.monotonic`.
    """

    def added(self, node: TaskFuture[Any], dependencies: list[TaskFuture[Any]] | None) -> None:
        """Note that *node* was called."""

    def started(self, node: TaskFuture[Any], worker: str | None, when: float | None) -> None:
        """Note that a worker began with *node*."""

    def record_result(self, node: TaskFuture[Any], value: Any, when: float | None) -> bool:
        """Record that *node* is done with *value*.

        Returns:
            Whether it is to wait until that is written; the journal settles it then.
        """

    def attempt_failed(
        self, node: TaskFuture[Any], error: BaseException, when: float | None
    ) -> None:
        """Note that an attempt of *node* failed, and that another will follow."""

    def ended(
        self,
        node: TaskFuture[Any],
        state: TaskState,
        error: BaseException | None,
        when: float | None,
    ) -> None:
        """Note that *node* failed for good, or was cancelled."""

    def flush(self) -> None:
        """Hand what was noted in this turn to the writer."""


class Run:
    """The state of one run, which everything in `_dispatch` shares.

    Attributes:
        uid: the run's name.
        loop: the event loop that all of it runs in.
        scheduler: the live graph.
        observers: who watches.
        lanes: the backends by name, in the order they were given; the first is the default.
        journal: writes the journal, if there is one.
        carriage: what plugins send along, if any does.
        recall: asked first before a task is sent; True where an earlier result stands for
            it or may yet.
        hold_back: asked next; True where the task is not to start any more.
        closed: the engine was shut down.
        full: the lanes that have a batch.
        references: some backend keeps values, or orders tasks itself.
    """

    __slots__ = (
        "_inbox",
        "_work_dir",
        "carriage",
        "closed",
        "full",
        "hold_back",
        "journal",
        "lanes",
        "loop",
        "observers",
        "recall",
        "references",
        "scheduler",
        "uid",
    )

    def __init__(
        self, uid: str, inbox: Inbox, observers: Observers, work_dir: Callable[[], Path]
    ) -> None:
        self.uid = uid
        self.loop = asyncio.get_running_loop()
        self.scheduler = Scheduler()
        self.observers = observers
        self.lanes: dict[str, Lane] = {}
        self.journal: Journaling | None = None
        self.carriage: Carriage | None = None
        self.recall: Gate | None = None
        self.hold_back: Gate | None = None
        self.closed = False
        self.full: list[Lane] = []
        self.references = False
        self._inbox = inbox
        self._work_dir = work_dir

    def wake(self) -> None:
        """See to it that a turn of the pump comes."""
        self._inbox.wake()

    def take_reports(self) -> None:
        """Take in what was reported, so that a look at a state sees the present."""
        self._inbox.take_reports()

    def report(self, reports: Iterable[AnyReport]) -> None:
        """Add reports of the engine's own to those of the backends."""
        self._inbox.reports.extend(reports)

    def want_running(self) -> None:
        """Have RUNNING reports wake the loop from now on: somebody counts from them."""
        self._inbox.eager = True

    def folder(self, node: TaskFuture[Any]) -> Path:
        """Return the folder of *node*'s declared files, which need not exist yet."""
        lane: Lane | None = node._lane
        shared = None if lane is None else lane.backend.shared_dir
        return (shared or self._work_dir()) / node.id

    def awaits_record(self, node: TaskFuture[Any]) -> bool:
        """Tell whether *node* is done but for its record in the journal."""
        return self.journal is not None and node._entry.waiting is True
