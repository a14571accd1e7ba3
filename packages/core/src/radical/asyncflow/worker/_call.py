"""Run a function of either kind, sync or async, to its end in this thread.

A thread keeps one event loop for all async functions that it runs.  `asyncio.run`
would make a new one for each call and, on closing it, scan every asyncio task of
the process.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from types import CoroutineType
from typing import Any

from .._public import public
from ._context import TaskContext, current_task

_GRACE = 5.0  # seconds for left-over asyncio tasks to obey their cancellation

# Types that are not awaitable, found faster than by a look for `__await__`.
_COMMON = frozenset({bool, bytes, dict, float, int, list, str, tuple, type(None)})

_log = logging.getLogger("radical.asyncflow.worker")


@public("radical.asyncflow.worker")
def call(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The function's result; if that is awaitable, what it comes to on this thread's loop.

    Asyncio tasks that the function leaves behind are cancelled before this returns.
    If a `TaskContext` is current, cancelling it cancels the asyncio task that runs the
    function; `asyncio.CancelledError` comes out of here unless the function handles it.
    """
    result = function(*args, **kwargs)
    if type(result) in _COMMON:
        return result
    if type(result) is CoroutineType or hasattr(type(result), "__await__"):
        return _runner().run(result)
    return result


@public("radical.asyncflow.worker")
def close_loop() -> None:
    """End this thread's loop, if it has one; call it when the thread ends."""
    runner = getattr(_thread, "runner", None)
    if runner is not None:
        del _thread.runner
        runner.close()


class _Runner:
    """A loop and the asyncio tasks that were begun on it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, awaitable: Awaitable[Any]) -> Any:
        loop = self.loop
        # A function may have set a factory of its own during an earlier call.
        loop.set_task_factory(self._make_task)
        coroutine = awaitable if isinstance(awaitable, CoroutineType) else _wait_for(awaitable)
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop)
        context = current_task()
        if context is not None:
            self._listen(context, task)
        try:
            return loop.run_until_complete(task)
        finally:
            if context is not None:
                context.on_cancel = None
            if task.done() and not task.cancelled():
                task.exception()  # KeyboardInterrupt and SystemExit came another way
            if self._tasks:
                self._cancel_left_over()

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _listen(self, context: TaskContext, task: asyncio.Task[Any]) -> None:
        loop = self.loop
        told = False

        def tell() -> None:
            # In the loop's thread; only once, so that a handler's own awaits are not hit.
            nonlocal told
            if not told:
                told = True
                task.cancel()

        def on_cancel() -> None:
            try:
                loop.call_soon_threadsafe(tell)
            except RuntimeError:
                if not loop.is_closed():  # then the task has ended, too
                    raise

        context.on_cancel = on_cancel
        if context.cancelled:
            on_cancel()

    def _cancel_left_over(self) -> None:
        # Set at once: a task that begins another while it is cancelled gets several rounds.
        deadline = self.loop.time() + _GRACE
        while self._tasks and self.loop.time() < deadline:
            for task in self._tasks:
                task.cancel()
            self.loop.run_until_complete(
                asyncio.wait(tuple(self._tasks), timeout=deadline - self.loop.time())
            )
        if self._tasks:
            _log.warning(
                "%d asyncio tasks that a task left behind ignored their cancellation for %g s; "
                "their event loop is given up",
                len(self._tasks),
                _GRACE,
            )
            self._tasks.clear()
            close_loop()

    def close(self) -> None:
        try:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()


class _Thread(threading.local):
    runner: _Runner


_thread = _Thread()


def _runner() -> _Runner:
    try:
        return _thread.runner
    except AttributeError:
        _thread.runner = _Runner()
        return _thread.runner


async def _wait_for(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
