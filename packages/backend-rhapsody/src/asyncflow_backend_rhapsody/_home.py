"""The event loop in which a backend of RHAPSODY lives: one of its own, or that of the engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

__all__ = ["Home", "LoopOfEngine", "LoopOfItsOwn"]

_T = TypeVar("_T")

JOIN_S = 1.0
"""Seconds that the thread of a loop may take to end once nothing runs in it."""


class Home(Protocol):
    """The loop in which the methods of the backend of RHAPSODY are called."""

    def soon(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have *work* done as soon as possible; from any thread."""

    async def do(self, work: Coroutine[Any, Any, _T], patience: float | None = None) -> _T:
        """Do *work* and return its result; called in the engine's loop.

        Raises:
            TimeoutError: it took more than *patience* seconds.
            BaseException: whatever it raises.
        """

    async def close(self) -> None:
        """End what is not needed any more."""


class _Running:
    """The work that goes on in a loop; asyncio itself keeps no reference to its tasks."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class LoopOfItsOwn:
    """A loop in a thread of its own.

    What RHAPSODY does there may block, such as the start of a pilot, and harms nobody.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._running = _Running()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()

    def soon(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._loop.call_soon_threadsafe(self._running.begin, work)

    async def do(self, work: Coroutine[Any, Any, _T], patience: float | None = None) -> _T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return await asyncio.wait_for(asyncio.wrap_future(future), patience)

    async def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        # Something that blocks in it for good must not hold up the program.
        await _ended(self._thread, JOIN_S)


class LoopOfEngine:
    """The loop of the engine, for a backend that the program made in it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running = _Running()

    def soon(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._loop.call_soon_threadsafe(self._running.begin, work)

    async def do(self, work: Coroutine[Any, Any, _T], patience: float | None = None) -> _T:
        return await asyncio.wait_for(work, patience)

    async def close(self) -> None:
        pass


async def _ended(thread: threading.Thread, patience: float) -> None:
    from radical.asyncflow.aside import in_thread

    await in_thread(thread.join, patience)
