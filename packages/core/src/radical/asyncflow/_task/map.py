"""``flow.map``: one task for each item, with a bounded number alive at a time."""

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
from typing import Any, Generic, TypeVar

from ..errors import ConfigurationError
from .future import TaskFuture

__all__ = ["check_limit", "map_tasks"]

T = TypeVar("T")


def check_limit(limit: object) -> None:
    """Raise ConfigurationError unless *limit* is a number of tasks."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigurationError(f"limit must be a whole number of at least 1, not {limit!r}")


async def map_tasks(
    call: Callable[[Any], TaskFuture[T]],
    items: Iterable[Any] | AsyncIterable[Any],
    limit: int,
    ordered: bool,
) -> AsyncIterator[T]:
    """Results of ``call(item)``; at most *limit* of the tasks are unfinished or unread.

    Whatever is still alive when the iteration ends early, or by a failure, is cancelled.
    """
    window: _Ordered[T] | _Completed[T] = _Ordered() if ordered else _Completed()
    if isinstance(items, AsyncIterable):
        results = _from_stream(call, items, limit, window)
    else:
        results = _from_items(call, iter(items), limit, window)
    try:
        async for result in results:
            yield result
    finally:
        await results.aclose()
        window.cancel()


def _called(call: Callable[[Any], TaskFuture[T]], item: Any) -> TaskFuture[T]:
    future = call(item)
    if not isinstance(future, asyncio.Future):
        raise TypeError(
            f"flow.map takes a task, or a function that calls one; {call!r} returned a "
            f"{type(future).__name__}"
        )
    return future


async def _from_items(
    call: Callable[[Any], TaskFuture[T]],
    items: Iterator[Any],
    limit: int,
    window: _Ordered[T] | _Completed[T],
) -> AsyncGenerator[T, None]:
    more = True
    while True:
        # A slot that is free is filled at once; the new calls of one turn of the
        # loop leave in one batch, because the engine sends once for each turn.
        while more and len(window) < limit:
            for item in items:
                window.add(_called(call, item))
                break
            else:
                more = False
        if not len(window):
            return
        yield await window.next()


async def _from_stream(
    call: Callable[[Any], TaskFuture[T]],
    items: AsyncIterable[Any],
    limit: int,
    window: _Ordered[T] | _Completed[T],
) -> AsyncGenerator[T, None]:
    """Items may be long in coming, and may depend on results: both are waited for at once."""
    source = aiter(items)
    room, news = asyncio.Event(), asyncio.Event()

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
                window.add(_called(call, item))
                news.set()
        finally:
            news.set()

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
                news.clear()
                await news.wait()
    finally:
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


class _Ordered(Generic[T]):
    """Futures in the order of their items."""

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
    """Futures in the order in which they end."""

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
