"""The protocol between a slot and the set of slots that it belongs to."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from radical.asyncflow.backend import Report, ReportSink, TaskId, TaskRequest
from radical.asyncflow.worker import GpuShares

__all__ = ["NO_GPUS", "Admission", "Seats", "Sleeper"]

NO_GPUS: GpuShares = {}


class Sleeper(Protocol):
    """Somebody who waits for work, as a slot does, until a lock is released.

    Attributes:
        wake: the lock that it waits for.
        core: the core to which its functions are bound, or None.
    """

    wake: threading.Lock
    core: int | None

    def has_looked(self) -> None:
        """Note that it has looked into the queue."""


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
        sink: where slots report.
        queue: ordinary tasks, the next one first.
        waiting: every task that no slot has, by id.
        behind: those of them that wait for another task, by the id of that one.
        values: the value of the other task, by the id of the one that was behind it.
        specials: tasks that ask for more than one core, for memory or for GPUs, in order.
        changes: counts what may make a special task admissible.
        looking: one entry for each slot that is about to look into the queue by itself.
        idle: slots that wait for work.
    """

    sink: ReportSink
    queue: deque[TaskRequest]
    waiting: dict[TaskId, TaskRequest]
    behind: dict[TaskId, TaskRequest]
    values: dict[TaskId, Any]
    specials: list[TaskRequest]
    changes: int
    looking: list[None]
    idle: list[Sleeper]

    def backlog(self) -> float:
        """Return how many tasks of the queue there are for each slot."""

    def admit(self, slot: Sleeper) -> Admission | None:
        """Return a special task for *slot* to run now, or None."""

    def release(self, admission: Admission) -> None:
        """Give back what a special task had, now that it has ended."""

    def park(self, slot: Sleeper, seen: int) -> bool:
        """Wait for work; return False if the slot is to leave."""

    def wake(self, count: int) -> None:
        """Have *count* of the idle slots look for work."""

    def follow(self, request: TaskRequest, value: Any) -> TaskRequest | None:
        """Let *request* run now that it has *value*; return it if this slot may run it."""

    def requeue(self, requests: Iterable[TaskRequest]) -> None:
        """Put back, at the front, tasks that were taken and have not begun."""

    def withdraw(self, task_id: TaskId) -> list[Report]:
        """Give up the tasks behind one that will not be done; return their reports."""

    def retire(self, slot: Sleeper) -> bool:
        """Let *slot* leave for good; return False if it is the last one, which has to stay."""

    def dismiss(self, slot: Sleeper) -> None:
        """Let *slot* leave for good, because another one has taken its place."""

    def left(self) -> None:
        """Note that the thread of a slot is about to end."""
