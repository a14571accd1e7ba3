"""The state of one run, and what a run asks of its journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .._files.targets import Targets
from .._graph.scheduler import Scheduler
from .._task.future import RemoteTaskFuture, TaskFuture
from ..backend import AnyReport, Serving, TaskId, TaskRequest
from ..backend._inbox import Inbox, Sink
from ..backend._lane import Lane
from ..model import Command, ExecutableResult, TaskState

if TYPE_CHECKING:
    from .._watch.carriage import Carriage
    from .._watch.observers import Observers

__all__ = ["Gate", "Journaling", "Run", "TakingOver"]

Gate = Callable[[TaskFuture[Any]], bool]
"""A function that is asked before a task is sent; if it returns True, the task stays here."""


class Journaling(Protocol):
    """The journal of a run, as the machinery sees it.

    *when* is the time of an event in seconds of `time.monotonic`; None stands for now.
    """

    def added(self, node: TaskFuture[Any], dependencies: list[TaskFuture[Any]] | None) -> None:
        """Note that *node* was called."""

    async def note_command(self, node: TaskFuture[Any], command: Command) -> None:
        """Note the *command* of *node*, which is about to be sent."""

    def sending(self, lanes: Iterable[Lane]) -> None:
        """Write which tasks are in the batches of *lanes*, which are about to be submitted."""

    def started(self, node: TaskFuture[Any], worker: str | None, when: float | None) -> None:
        """Note that *worker* began with *node*."""

    def record_result(self, node: TaskFuture[Any], value: Any, when: float | None) -> bool:
        """Record that *node* is done with *value*.

        Returns:
            True if the future must wait until that is written; the journal then resolves it.
        """

    def correct_start(self, node: TaskFuture[Any], when: float) -> None:
        """Note that *node*, which runs, began at *when*."""

    def attempt_failed(
        self, node: TaskFuture[Any], error: BaseException, when: float | None
    ) -> None:
        """Note that an attempt of *node* failed and that a retry follows."""

    def keep_arguments(self, node: TaskFuture[Any]) -> None:
        """Note the arguments of *node*, which is about to fail for good and to forget them."""

    def ended(
        self,
        node: TaskFuture[Any],
        state: TaskState,
        error: BaseException | None,
        when: float | None,
    ) -> None:
        """Note that *node* failed for good or was cancelled."""

    def service_ended(
        self,
        node: TaskFuture[Any],
        serving: Serving,
        result: ExecutableResult | None,
        when: float | None,
    ) -> None:
        """Note that the service ended which *node* had brought up, and the *result* if known."""

    def backend_lost(self, name: str, error: BaseException, moved: int) -> None:
        """Note that the backend *name* was lost, and how many of its tasks go on elsewhere."""

    def seconds_running(self, node: TaskFuture[Any]) -> float | None:
        """Return the seconds for which *node* runs; None if that is not known."""

    def look_again(self) -> None:
        """Look afresh at what the tasks use: other code may have run since the last call."""

    def flush(self) -> None:
        """Hand what was noted in this turn to the writer."""


class TakingOver(Protocol):
    """The way on to the next backend when one is lost, as the machinery sees it."""

    def lose(
        self,
        lane: Lane,
        error: BaseException,
        unbegun: Collection[TaskId],
        when: float | None = None,
    ) -> int:
        """Move what *lane* held, which is lost by *error*.

        Args:
            unbegun: the tasks that have certainly not begun there.

        Returns:
            The number of tasks that go on elsewhere.
        """

    def refuse(self, lane: Lane, batch: Sequence[TaskRequest]) -> None:
        """Note that *lane* is lost and did not take *batch*, so that no task of it has begun."""

    def take_over(self, node: TaskFuture[Any]) -> None:
        """Give *node*, which is ready and whose backend is lost, to another one, or fail it."""

    def move(self, node: TaskFuture[Any]) -> bool:
        """Let *node* belong to the next backend that can run it; return False if none can."""

    def remember(self, node: RemoteTaskFuture[Any]) -> None:
        """Keep how the value of *node* was made, as long as it is only on its backend."""

    async def is_lost(self, lane: Lane) -> bool:
        """Tell whether *lane* is lost, or is found to be so within a while.

        That a value cannot be had may be the first sign.
        """

    async def value_again(self, future: RemoteTaskFuture[Any], error: BaseException) -> Any:
        """Compute the value of *future* again, which could not be had because of *error*.

        Raises:
            BaseException: *error* if the backend is not lost, or the error of the new run.
        """


class Run:
    """The state of one run, which everything in `_dispatch` shares.

    Attributes:
        uid: the name of the run.
        loop: the event loop that everything runs in.
        scheduler: the live graph.
        observers: the observers of the run.
        lanes: the backends by name, in the order they were given; the first is the default.
        journal: the writer of the journal, if there is one.
        carriage: adds what plugins send along, if any plugin does.
        gate: asked before a task is sent: `recall` and then `hold_back`, as far as they are
            set; True keeps the task here.
        closed: True once the engine is shut down.
        full: the lanes that have a batch to submit.
        references: True if some backend keeps values or orders tasks itself.
        targets: the places of the output files of unfinished tasks.
    """

    __slots__ = (
        "_hold_back",
        "_inbox",
        "_recall",
        "_wants_running",
        "_work_dir",
        "carriage",
        "closed",
        "full",
        "gate",
        "journal",
        "lanes",
        "loop",
        "observers",
        "references",
        "scheduler",
        "targets",
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
        self.gate: Gate | None = None
        self._recall: Gate | None = None
        self._hold_back: Gate | None = None
        self.closed = False
        self.full: list[Lane] = []
        self.references = False
        self.targets = Targets()
        self._inbox = inbox
        self._wants_running = False
        self._work_dir = work_dir

    @property
    def recall(self) -> Gate | None:
        """The gate that is asked first, True if an earlier result stands for the task, or may."""
        return self._recall

    @recall.setter
    def recall(self, gate: Gate | None) -> None:
        self._recall = gate
        self._join_gates()

    @property
    def hold_back(self) -> Gate | None:
        """The gate that is asked next, True if the task may not start any more."""
        return self._hold_back

    @hold_back.setter
    def hold_back(self, gate: Gate | None) -> None:
        self._hold_back = gate
        self._join_gates()

    def _join_gates(self) -> None:
        first, second = self._recall, self._hold_back
        if first is None or second is None:
            self.gate = first or second
        else:
            self.gate = lambda future: first(future) or second(future)

    def wake(self) -> None:
        """Request a turn of the pump."""
        self._inbox.wake()

    def take_reports(self) -> None:
        """Take in what was reported, so that a state that is read is up to date."""
        self._inbox.take_reports()

    def report(self, reports: Iterable[AnyReport]) -> None:
        """Add *reports*, which the engine itself makes, to those of the backends."""
        self._inbox.reports.extend(reports)

    def new_sink(self, index: int) -> Sink:
        """Return what the backend with this *index* reports to."""
        return Sink(self._inbox, index, self.uid, self._work_dir)

    def want_running(self) -> None:
        """Let RUNNING reports wake the loop from now on, because somebody needs their times."""
        self._wants_running = self._inbox.eager = True

    def want_next_running(self, wanted: bool) -> None:
        """Let the next RUNNING report wake the loop, or not unless somebody wants them all."""
        self._inbox.eager = wanted or self._wants_running

    def keep_traces(self, *, output: bool, usage: bool) -> None:
        """Ask the backends, which have not started, for what tasks print and log, and use."""
        self._inbox.keeps_output = output
        self._inbox.keeps_usage = usage

    def folder(self, node: TaskFuture[Any]) -> Path:
        """Return the folder in which *node* finds and writes declared files; it may not exist."""
        lane: Lane | None = node._lane
        shared = None if lane is None else lane.backend.shared_dir
        return (shared or self._work_dir()) / node.id

    def awaits_record(self, node: TaskFuture[Any]) -> bool:
        """Tell whether *node* is done and only waits for its record in the journal."""
        return self.journal is not None and node._entry.waiting is True
