"""Tasks that workers have ahead: they are there, and have not begun.

A worker gets its next task before it has done the one that it runs, so that it never waits
for the program.  No task waits at a worker for long, though.  A slot that has nothing to do
takes it back, and so does one that would begin a later task, or that is about to overtake it
by too much.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from math import inf
from time import monotonic
from typing import NamedTuple, Protocol

from radical.asyncflow.backend import TaskId, TaskRequest

from .queue import place_of

__all__ = ["Ahead", "Holder"]

_MOST_TURNS = 2  # for each slot, that may come after a task that waits at a worker
_MOST_PACES = 2  # that the task before it may take
_LEAST_S = 0.010  # that it may take at any rate


class Holder(Protocol):
    """A slot whose worker may have tasks that it has not begun; both methods are for any thread."""

    def give_back(self) -> bool:
        """Put back tasks that its worker has not begun; return whether there were any."""

    def nudge(self) -> None:
        """Have it look for a further task, if it waits for its worker."""


class _Waiting(NamedTuple):
    """The tasks that a worker has ahead.

    Attributes:
        turn: the turn in which it came there.
        task: the task; None if there are several, which are soon done.
        due: when it should have begun, as its worker's task should have ended.
    """

    turn: int
    task: TaskRequest | None
    due: float


class Ahead:
    """The slots whose workers have something ahead, and those that could have more.

    Attributes:
        returned: tasks that a worker had and gave back.  They wait for a slot that is free.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._turns = count(1)
        self._turn = 0
        self._holders: dict[Holder, _Waiting] = {}  # the oldest first
        self._hungry: dict[Holder, None] = {}
        self.returned: set[TaskId] = set()

    def __bool__(self) -> bool:
        return bool(self._holders)

    def add(self, slot: Holder, request: TaskRequest | None = None, pace: float = inf) -> None:
        """Note that the worker of *slot* has *request* ahead, or several that are soon done.

        *pace* is how long a task is expected to take.
        """
        if slot not in self._holders:
            self._turn = next(self._turns)
            due = 0.0 if pace == inf else monotonic() + max(_MOST_PACES * pace, _LEAST_S)
            self._holders[slot] = _Waiting(self._turn, request, due)

    def remove(self, slot: Holder) -> None:
        """Note that the worker of *slot* has nothing ahead."""
        self._holders.pop(slot, None)

    def take_back(self) -> bool:
        """Have a slot give back what its worker has ahead; return whether one did."""
        for slot in list(self._holders):
            self._holders.pop(slot, None)
            if slot.give_back():
                return True
        return False

    def take_back_before(self, request: TaskRequest) -> bool:
        """Have a slot give back a task that comes before *request*, and take something else."""
        now = monotonic()
        place, priority = place_of(request), request.spec.priority
        for slot, (_, other, due) in list(self._holders.items()):
            if other is None:
                continue
            overdue = due < now and place_of(other) < place
            if (overdue or other.spec.priority > priority) and self._swap(slot):
                return True
        return False

    def make_way(self, priority: float) -> None:
        """Have slots give back what has a lower *priority*, and take something else."""
        for slot, (_, other, _) in list(self._holders.items()):
            if other is not None and other.spec.priority < priority:
                self._swap(slot)

    def take_back_overdue(self) -> None:
        """Have a slot give back what too many tasks have overtaken, and take something else."""
        latest = self._turn - _MOST_TURNS * self._slots
        for slot, (turn, other, due) in list(self._holders.items()):
            if turn > latest:
                return
            if other is not None and due < monotonic() and self._swap(slot):
                return

    def _swap(self, slot: Holder) -> bool:
        self._holders.pop(slot, None)
        given = slot.give_back()
        if given:
            slot.nudge()
        return given

    def taken(self, task_ids: Iterable[TaskId]) -> None:
        """Note that slots have these tasks, which may be among those that were returned."""
        if self.returned:
            self.returned.difference_update(task_ids)
            if not self.returned:
                self.nudge(self._slots)  # they had to leave those to a slot that is free

    # ------------------------------------------------- slots that want more

    def want(self, slot: Holder) -> None:
        """Have *slot* nudged when there are tasks that no slot is free for."""
        self._hungry[slot] = None

    def want_no_more(self, slot: Holder) -> None:
        """Undo `want`."""
        self._hungry.pop(slot, None)

    def nudge(self, count: int) -> None:
        """Nudge as many slots as want more, but at most *count*."""
        while count > 0 and self._hungry:
            try:
                slot, _ = self._hungry.popitem()
            except KeyError:
                return
            slot.nudge()
            count -= 1
