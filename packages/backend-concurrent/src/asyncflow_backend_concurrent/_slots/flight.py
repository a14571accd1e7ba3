"""The tasks that a process slot has taken: from the claim to the outcome."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from radical.asyncflow.backend import Report, TaskId, TaskRequest, TaskState

from .references import refer
from .slots import Slots

__all__ = ["Failed", "Flight", "report"]

_DONE, _FAILED, _CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED
_new = tuple.__new__  # a named tuple's own constructor costs three times as much


class Failed(NamedTuple):
    """Not a value: the exception that stands in its place."""

    error: BaseException


class Flight:
    """Tasks by their places at the worker; every method is called with the slot's lock held.

    A *link* is a task whose argument the worker has: the result of the task of the place
    before.

    Attributes:
        requests: those without an outcome, by place, in order.
        links: places of links, by the task that each waits for.
        stopped: places of those that were cancelled while they ran.
    """

    def __init__(self, slots: Slots) -> None:
        self.requests: dict[int, TaskRequest] = {}
        self.links: dict[TaskId, int] = {}
        self.stopped: set[int] = set()
        self._values: dict[int, Any] = {}  # by the place of a link: what it waited for is done
        self._slots = slots

    def clear(self) -> None:
        self.requests.clear()
        self.links.clear()
        self.stopped.clear()
        self._values.clear()

    def join(self, request: TaskRequest, place: int) -> TaskRequest:
        """One that came behind another: with the other's value, or as a link to it."""
        slots = self._slots
        before = request.dependencies[0]
        if slots.behind.pop(before, None) is None:
            return refer(request, slots.given.pop(request.task_id, None))
        self.links[before] = place
        return request

    def behind(self, place: int) -> TaskRequest | None:
        """What could be a link to the task of *place*, if that is here."""
        last = self.requests.get(place)
        return None if last is None else self._slots.behind.get(last.task_id)

    def leave(self, place: int) -> TaskRequest:
        """The task of *place*, which is here no more."""
        request = self.requests.pop(place)
        if request.dependencies:
            self.links.pop(request.dependencies[0], None)
            self._values.pop(place, None)
        return request

    def withdraw(self, places: Iterable[int]) -> list[Report]:
        """Reports of tasks that will not begin, and of what is behind them."""
        gone = [self.leave(place) for place in places]
        reports = [report(request, _CANCELLED) for request in gone]
        for request in gone:
            reports += self.abort(request.task_id)
        return reports

    def abort(self, task_id: TaskId) -> list[Report]:
        """Reports of what is behind a task that will not be done."""
        reports: list[Report] = []
        while (place := self.links.get(task_id)) is not None:
            request = self.leave(place)
            task_id = request.task_id
            reports.append(report(request, _CANCELLED))
        return reports + self._slots.withdraw(task_id)

    def put_back(self, places: Collection[int]) -> None:
        """Those have not begun and never will here: to where they were taken from."""
        slots = self._slots
        back: list[TaskRequest] = []
        todo = sorted(places)
        for place in todo:
            if place not in self.requests:
                continue
            known, value = place in self._values, self._values.get(place)
            link = self.links.get(self.requests[place].task_id)
            if link is not None and link not in places:
                todo.append(link)  # it was about to be offered
            request = self.leave(place)
            if not request.dependencies:
                back.append(request)
            elif known:
                slots.given[request.task_id] = value
                back.append(request)
            else:
                # In this order: who cancels it looks there first.
                slots.waiting[request.task_id] = request
                slots.behind[request.dependencies[0]] = request
        if back:
            slots.requeue(back)

    def fail(self, place: int, error: BaseException) -> list[Report]:
        """Reports of a task that failed, if it was still here, and of what is behind it."""
        return self.settle(place, Failed(error)) if place in self.requests else []

    def settle(self, place: int, value: Any) -> list[Report]:
        """The same for a task that failed or was done.

        What waits behind one that was done is not reported: it has its value now.
        """
        request = self.leave(place)
        task_id = request.task_id
        if place in self.stopped:
            self.stopped.discard(place)
            return [report(request, _CANCELLED), *self.abort(task_id)]
        if type(value) is Failed:
            return [report(request, _FAILED, value.error), *self.abort(task_id)]
        if task_id in self.links:
            self._values[self.links[task_id]] = value
        return [_new(Report, (task_id, request.attempt, _DONE, value, None))]


def report(
    request: TaskRequest, state: TaskState, value: Any = None, time: float | None = None
) -> Report:
    return _new(Report, (request.task_id, request.attempt, state, value, time))
