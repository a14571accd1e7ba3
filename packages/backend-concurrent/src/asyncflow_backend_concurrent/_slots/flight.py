"""The tasks that a process slot has taken, from the claim to the outcome."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from radical.asyncflow.backend import AnyReport, TaskId, TaskRequest, TaskState
from radical.asyncflow.worker import Raised

from .seats import Seats
from .values import with_value

__all__ = ["InFlight", "report"]

_DONE, _FAILED, _CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED


class InFlight:
    """Tasks by their places at the worker; every method is called with the slot's lock held.

    A task is *chained* if the worker has its argument: the result of the task of the
    place before.

    Attributes:
        requests: those without an outcome, by place, in order.
        chained: places of chained tasks, by the task that each waits for.
        stopped: places of those that were cancelled while they ran.
    """

    def __init__(self, slots: Seats) -> None:
        self.requests: dict[int, TaskRequest] = {}
        self.chained: dict[TaskId, int] = {}
        self.stopped: set[int] = set()
        self._values: dict[int, Any] = {}  # for chained tasks whose first is done, by place
        self._slots = slots

    def clear(self) -> None:
        """Forget all tasks."""
        self.requests.clear()
        self.chained.clear()
        self.stopped.clear()
        self._values.clear()

    def join(self, request: TaskRequest, place: int) -> TaskRequest:
        """Return one that came behind another: with the other's value, or chained to it."""
        slots = self._slots
        before = request.dependencies[0]
        if slots.behind.pop(before, None) is None:
            return with_value(request, slots.values.pop(request.task_id, None))
        self.chained[before] = place
        return request

    def behind(self, place: int) -> TaskRequest | None:
        """Return the task that could be chained to the one of *place*, if that is here."""
        last = self.requests.get(place)
        return None if last is None else self._slots.behind.get(last.task_id)

    def leave(self, place: int) -> TaskRequest:
        """Remove the task of *place* and return it."""
        request = self.requests.pop(place)
        if request.dependencies:
            self.chained.pop(request.dependencies[0], None)
            self._values.pop(place, None)
        return request

    def withdraw(self, places: Iterable[int]) -> list[AnyReport]:
        """Give up tasks that will not begin, and what is behind them; return the reports."""
        gone = [self.leave(place) for place in places]
        reports: list[AnyReport] = [report(request, _CANCELLED) for request in gone]
        for request in gone:
            reports += self.abort(request.task_id)
        return reports

    def abort(self, task_id: TaskId) -> list[AnyReport]:
        """Give up what is behind a task that will not be done; return the reports."""
        reports: list[AnyReport] = []
        while (place := self.chained.get(task_id)) is not None:
            request = self.leave(place)
            task_id = request.task_id
            reports.append(report(request, _CANCELLED))
        return [*reports, *self._slots.withdraw(task_id)]

    def put_back(self, places: Collection[int]) -> None:
        """Put tasks that have not begun, and never will here, back where they came from."""
        slots = self._slots
        back: list[TaskRequest] = []
        todo = sorted(places)
        for place in todo:
            if place not in self.requests:
                continue
            known, value = place in self._values, self._values.get(place)
            following = self.chained.get(self.requests[place].task_id)
            if following is not None and following not in places:
                todo.append(following)  # it was about to be offered
            request = self.leave(place)
            if not request.dependencies:
                back.append(request)
            elif known:
                slots.values[request.task_id] = value
                back.append(request)
            else:
                # In this order, because a cancel looks into `waiting` first.
                slots.waiting[request.task_id] = request
                slots.behind[request.dependencies[0]] = request
        if back:
            slots.ahead.returned.update(request.task_id for request in back)
            slots.requeue(back)

    def fail(self, place: int, error: BaseException) -> list[AnyReport]:
        """Settle a task that failed, if it is still here; return the reports as `settle`."""
        return self.settle(place, Raised(error)) if place in self.requests else []

    def settle(self, place: int, value: Any) -> list[AnyReport]:
        """Remove a task that was done or failed; return its report and those of what it ends.

        What is behind a task that was done gets no report: it has its value now.
        """
        request = self.leave(place)
        task_id = request.task_id
        if place in self.stopped:
            self.stopped.discard(place)
            return [report(request, _CANCELLED), *self.abort(task_id)]
        if type(value) is Raised:
            return [report(request, _FAILED, value.error), *self.abort(task_id)]
        if task_id in self.chained:
            self._values[self.chained[task_id]] = value
        return [(task_id, request.attempt, _DONE, value, None)]


def report(
    request: TaskRequest, state: TaskState, value: Any = None, time: float | None = None
) -> AnyReport:
    """Make the report of *request*."""
    return request.task_id, request.attempt, state, value, time
