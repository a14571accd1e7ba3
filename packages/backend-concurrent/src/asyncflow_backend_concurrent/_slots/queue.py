"""The tasks that wait for a slot, in the order in which they begin.

Most have no priority and take no result of another task.  They stand in one deque; for
each other order that occurs there is another, a level.  `TaskQueue.first` is the level to
take from: all that are before it are empty.  So a task is taken without a lock, and a lock
guards what may change which level is the first.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from radical.asyncflow.backend import TaskId, TaskRequest

__all__ = ["PLAIN", "Order", "TaskQueue", "order_of", "place_of"]

Order = tuple[float, int]
"""A negative priority and a negative depth; what has the smaller ones goes first."""

PLAIN: Order = (0, 0)
"""The order of most tasks."""

_MIN_LEVELS = 8  # so many, until those that are empty are removed


def order_of(request: TaskRequest) -> Order:
    """Return the order of *request*, among whose equals the first that came goes first."""
    return -request.spec.priority, -request.depth


def place_of(request: TaskRequest) -> tuple[Order, TaskId]:
    """Return what is smaller for a task that goes first, of tasks that came at any time."""
    return order_of(request), request.task_id


class TaskQueue:
    """A queue of tasks; any thread may call any method.

    Attributes:
        first: the first level, whose first task is the next; if it is empty, `advance` tells
            whether there is another.
        ordered: True if there may be other levels than that of most tasks.
    """

    __slots__ = ("_at", "_levels", "_lock", "_most", "_orders", "_plain", "first", "ordered")

    def __init__(self) -> None:
        self._plain: deque[TaskRequest] = deque()
        self._lock = threading.Lock()  # guards what follows
        self._orders: list[Order] = [PLAIN]
        self._levels: tuple[deque[TaskRequest], ...] = (self._plain,)  # replaced, never changed
        self._at = 0  # that of the first level
        self._most = _MIN_LEVELS
        self.first = self._plain
        self.ordered = False

    def __len__(self) -> int:
        return sum(map(len, self._levels))

    def __bool__(self) -> bool:
        return any(self._levels)

    def __iter__(self) -> Iterator[TaskRequest]:
        return (request for level in self._levels for request in tuple(level))

    def take(self) -> TaskRequest:
        """Remove the next task, and return it.

        Raises:
            IndexError: there is none.
        """
        while True:
            try:
                return self.first.popleft()
            except IndexError:
                if not self.advance():
                    raise

    def advance(self) -> bool:
        """Find the first level that is not empty; return False if all are empty."""
        if not any(self._levels):
            return False
        with self._lock:
            self._find_first()
        return True

    def head(self) -> TaskRequest | None:
        """Return the next task, which stays; None if there is none."""
        for level in self._levels:
            try:
                return level[0]
            except IndexError:
                continue
        with self._lock:
            self._remove_empty()
        return None

    def extend(self, order: Order, requests: Sequence[TaskRequest]) -> None:
        """Put *requests*, which have that *order*, behind their equals."""
        if order == PLAIN and not self.ordered:
            self._plain.extend(requests)
            if not self.ordered:
                return
            requests = ()  # meanwhile a level was made that may come behind
        with self._lock:
            self._level(order).extend(requests)
            if order == PLAIN:
                self._remove_empty()

    def put(self, request: TaskRequest) -> None:
        """Put *request* behind its equals."""
        self.extend(order_of(request), (request,))

    def put_back(self, requests: Iterable[TaskRequest]) -> None:
        """Put *requests*, of which the first is the next, before their equals."""
        with self._lock:
            for request in reversed(list(requests)):
                self._level(order_of(request)).appendleft(request)

    # ------------------------------------------- called with the lock held

    def _level(self, order: Order) -> deque[TaskRequest]:
        """Return the level of *order*, to be filled before the lock is released."""
        orders = self._orders
        at = bisect_left(orders, order)
        if at == len(orders) or orders[at] != order:
            if len(orders) >= self._most:
                self._remove_empty()
                self._most = max(_MIN_LEVELS, 2 * len(self._orders))
                return self._level(order)
            orders.insert(at, order)
            self._levels = (*self._levels[:at], deque(), *self._levels[at:])
            if at <= self._at:
                self._at += 1
            self.ordered = True
        level = self._levels[at]
        if at < self._at:
            self._at, self.first = at, level
        return level

    def _find_first(self) -> None:
        """Let the first level that is not empty be the first; the last one, if all are."""
        for at, level in enumerate(self._levels):
            self._at, self.first = at, level
            if level:
                return

    def _remove_empty(self) -> None:
        """Remove the levels that are empty."""
        kept = [
            (order, level)
            for order, level in zip(self._orders, self._levels, strict=True)
            if level or level is self._plain
        ]
        self._orders = [order for order, _ in kept]
        self._levels = tuple([level for _, level in kept])
        self._find_first()
        self.ordered = len(kept) > 1
