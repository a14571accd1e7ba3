"""``flow.map`` for a thread: one task for each item, and a limit on how many are unfinished."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from .._threads.futures import TaskFuture

__all__ = ["map_tasks"]

Item = TypeVar("Item")
T = TypeVar("T")


def map_tasks(
    call: Callable[[Item], TaskFuture[T]], items: Iterable[Item], limit: int, ordered: bool
) -> Iterator[T]:
    """Iterate over the results of ``call(item)``; at most *limit* tasks are unfinished or unread.

    If the iteration ends early or with a failure, the tasks that are unfinished then are
    cancelled.
    """
    return _in_order(call, iter(items), limit) if ordered else _as_done(call, iter(items), limit)


def _in_order(
    call: Callable[[Item], TaskFuture[T]], items: Iterator[Item], limit: int
) -> Iterator[T]:
    window: deque[TaskFuture[T]] = deque()
    try:
        for item in items:
            window.append(call(item))
            if len(window) == limit:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        for future in window:
            future.cancel()


def _as_done(
    call: Callable[[Item], TaskFuture[T]], items: Iterator[Item], limit: int
) -> Iterator[T]:
    window: set[TaskFuture[T]] = set()
    ended: SimpleQueue[TaskFuture[T]] = SimpleQueue()

    def next_result() -> T:
        future = ended.get()
        window.remove(future)
        return future.result()

    try:
        for item in items:
            future = call(item)
            window.add(future)
            future.add_done_callback(ended.put)
            if len(window) == limit:
                yield next_result()
        while window:
            yield next_result()
    finally:
        for future in window:
            future.cancel()
