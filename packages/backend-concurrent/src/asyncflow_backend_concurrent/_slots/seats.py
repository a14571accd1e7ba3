"""The protocol between a slot and the set of slots that it belongs to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from radical.asyncflow.backend import (
    ExecutableResult,
    Report,
    ReportSink,
    TaskId,
    TaskRequest,
)
from radical.asyncflow.worker import Execution, GpuShares

from .ahead import Ahead
from .queue import TaskQueue

__all__ = ["NO_GPUS", "Admission", "Seats", "Sleeper"]

NO_GPUS: GpuShares = {}


class Sleeper(Protocol):
    """Somebody who waits for work, as a slot does, until a lock is released.

    While it waits, a crew may run commands in its place.

    Attributes:
        wake: the lock that it waits for.
        core: the core to which its functions are bound, or None.
    """

    wake: threading.Lock
    core: int | None

    def has_looked(self) -> None:
        """Note that it has looked into the queue."""

    def prepare(self, request: TaskRequest) -> Execution | None:
        """Take a command, which is RUNNING now; return None if it was cancelled before."""

    def conclude(self, execution: Execution, step: Callable[[], ExecutableResult]) -> None:
        """Report the command that it took, of which *step* returns the result."""

    def go_on(self, execution: Execution, step: Callable[[], ExecutableResult]) -> None:
        """Have its own thread call *step* and conclude the command; it waits no longer."""


class Admission(NamedTuple):
    """A special task that may run now; hand it back to `Seats.release`.

    Attributes:
        gpus: its GPUs, and what it has of each.
        lent: the slots that stand still for it.
    """

    request: TaskRequest
    gpus: GpuShares
    lent: list[Sleeper]


class Seats(Protocol):
    """The tasks that wait, and the way to them; `Slots` is the one that there is.

    Attributes:
        size: how many slots there may be.
        sink: where slots report.
        queue: ordinary tasks.
        waiting: every task that no slot has, by id.
        behind: those of them that wait for another task, by the id of that one.
        values: the value of the other task, by the id of the one that was behind it.
        specials: tasks that ask for more than one core, for memory or for GPUs, in order.
        changes: counts what may make a special task admissible.
        looking: one entry for each slot that is about to look into the queue by itself.
        idle: slots that wait for work.
        ahead: what workers have that they have not begun.
        closing: no further task is taken; slots and crews leave when nothing waits.
    """

    size: int
    sink: ReportSink
    queue: TaskQueue
    waiting: dict[TaskId, TaskRequest]
    behind: dict[TaskId, TaskRequest]
    values: dict[TaskId, Any]
    specials: list[TaskRequest]
    changes: int
    looking: list[None]
    idle: list[Sleeper]
    ahead: Ahead
    closing: bool

    @property
    def crews(self) -> Sequence[object]:
        """The threads that run commands; none before the first command."""

    def backlog(self) -> float:
        """Return how many tasks of the queue there are for each slot."""

    def admit(self, slot: Sleeper) -> Admission | None:
        """Return a special task for *slot* to run now, or None."""

    def release(self, admission: Admission) -> None:
        """Give back what a special task had, now that it has ended."""

    def park(self, slot: Sleeper, seen: int) -> bool:
        """Wait for work; return False if the slot is to leave."""

    def wake(self, count: int) -> None:
        """Have *count* slots look for work: the idle ones, and then those that want more."""

    def follow(self, request: TaskRequest, value: Any) -> TaskRequest | None:
        """Give *request* its *value*; return it if it is the next that this slot runs."""

    def requeue(self, requests: Iterable[TaskRequest]) -> None:
        """Put back, at the front, tasks that were taken and have not begun."""

    def withdraw(self, task_id: TaskId) -> list[Report]:
        """Give up the tasks behind one that will not be done; return their reports."""

    def retire(self, slot: Sleeper) -> bool:
        """Let *slot* leave for good; return False if it is the last one, which has to stay."""

    def dismiss(self, slot: Sleeper) -> None:
        """Let *slot* leave for good, because another one has taken its place."""

    def left(self) -> None:
        """Note that the thread of a slot or a crew is about to end."""

    def leave_to_crew(self, slot: Sleeper, request: TaskRequest) -> bool:
        """Leave a command to a crew, and wait as `park` does; return False if there is none."""

    def call_crew(self, count: int = 1) -> None:
        """Have crews look for *count* commands."""

    def next_is_command(self) -> bool:
        """Tell whether the next task of the queue is a command."""

    def take_command(self) -> TaskRequest | None:
        """Take the next task of the queue if it is a command."""

    def borrow(self) -> Sleeper | None:
        """Return a slot that waits for work, for a crew; None if none does."""

    def give_back(self, slot: Sleeper) -> None:
        """Let a slot that a crew had wait for work again, or look for it at once."""

    def disband(self, crew: Any) -> None:
        """Forget a crew that takes nothing more."""
