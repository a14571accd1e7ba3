"""``flow.map``: one task for each item, and a limit on how many of them are unfinished."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
)
from typing import Generic, TypeVar

from ..errors import ConfigurationError
from .future import TaskFuture

__all__ = ["check_limit", "map_tasks"]

Item = TypeVar("Item")
T = TypeVar("T")

_END = object()


def check_limit(limit: object) -> None:
    """Raise ConfigurationError unless *limit* can be a number of tasks."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigurationError(f"limit must be a whole number of at least 1, not {limit!r}")


def map_tasks(
    call: Callable[[Item], TaskFuture[T]],
    items: Iterable[Item] | AsyncIterable[Item],
    limit: int,
    ordered: bool,
) -> AsyncIterator[T]:
    """Iterate over the results of ``call(item)``; at most *limit* tasks are unfinished or unread.

    If the iteration ends early or with a failure, the tasks that are unfinished then are
    cancelled.
    """
    if isinstance(items, AsyncIterable):
        return _from_stream(call, items, limit, _Ordered() if ordered else _Completed())
    if ordered:
        return _in_order(call, iter(items), limit)
    return _as_completed(call, iter(items), limit)


def _start(call: Callable[[Item], TaskFuture[T]], item: Item) -> TaskFuture[T]:
    """Return the future of ``call(item)``, after a check that it is one."""
    future = call(item)
    if type(future) is not TaskFuture and not asyncio.isfuture(future):
        raise TypeError(
            f"flow.map takes a task, or a function that calls one; {call!r} returned a "
            f"{type(future).__name__}"
        )
    return future


# Both fill every free place at once: the engine sends once for each turn of the loop, so that
# these calls leave in one batch.  Each is a single generator, because every further one would
# cost as much for each item.


async def _in_order(
    call: Callable[[Item], TaskFuture[T]], items: Iterator[Item], limit: int
) -> AsyncGenerator[T, None]:
    window: deque[TaskFuture[T]] = deque()
    room = limit
    try:
        while True:
            while room:
                item = next(items, _END)
                if item is _END:
                    items, room = iter(()), 0
                    break
                window.append(_start(call, item))  # type: ignore[arg-type]
                room -= 1
            if not window:
                return
            future = window.popleft()
            room += 1
            yield future.result() if future.done() else await future
    finally:
        for future in window:
            future.cancel()


async def _as_completed(
    call: Callable[[Item], TaskFuture[T]], items: Iterator[Item], limit: int
) -> AsyncGenerator[T, None]:
    window: _Completed[T] = _Completed()
    room = limit
    try:
        while True:
            while room:
                item = next(items, _END)
                if item is _END:
                    items, room = iter(()), 0
                    break
                window.add(_start(call, item))  # type: ignore[arg-type]
                room -= 1
            if not len(window):
                return
            room += 1
            yield await window.next()
    finally:
        window.cancel()


async def _from_stream(
    call: Callable[[Item], TaskFuture[T]],
    items: AsyncIterable[Item],
    limit: int,
    window: _Ordered[T] | _Completed[T],
) -> AsyncGenerator[T, None]:
    """Wait for items and for results at once: an item may be slow, or depend on a result."""
    source = aiter(items)
    room, change = asyncio.Event(), asyncio.Event()

    async def feed() -> None:
        try:
            while True:
                while len(window) >= limit:
                    room.clear()
                    await room.wait()
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    return
                window.add(_start(call, item))
                change.set()
        finally:
            change.set()

    feeder = asyncio.create_task(feed())
    try:
        while True:
            if len(window):
                result = await window.next()
                room.set()
                yield result
            elif feeder.done():
                await feeder
                return
            else:
                change.clear()
                await change.wait()
    finally:
        try:
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
        finally:
            window.cancel()


class _Ordered(Generic[T]):
    """The futures of a map, in the order of their items."""

    def __init__(self) -> None:
        self._futures: deque[TaskFuture[T]] = deque()

    def __len__(self) -> int:
        return len(self._futures)

    def add(self, future: TaskFuture[T]) -> None:
        self._futures.append(future)

    async def next(self) -> T:
        return await self._futures.popleft()

    def cancel(self) -> None:
        for future in self._futures:
            future.cancel()


class _Completed(Generic[T]):
    """The futures of a map, in the order in which they end."""

    def __init__(self) -> None:
        self._alive: set[TaskFuture[T]] = set()
        self._done: deque[TaskFuture[T]] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._alive)

    def add(self, future: TaskFuture[T]) -> None:
        self._alive.add(future)
        future.add_done_callback(self._ended)

    def _ended(self, future: TaskFuture[T]) -> None:
        self._done.append(future)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> T:
        while not self._done:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        future = self._done.popleft()
        self._alive.discard(future)
        return future.result()

    def cancel(self) -> None:
        for future in self._alive:
            future.remove_done_callback(self._ended)
            future.cancel()
