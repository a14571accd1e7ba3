"""Run a function, sync or async, to its end in this thread.

A thread keeps one event loop for all async functions that it runs.  `asyncio.run`
would make a new loop for each call and, to close it, look through every asyncio task
of the process.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from .._public import public
from ._context import TaskContext, current_task, set_current

__all__ = ["call", "check_result", "close_loop"]

_CANCEL_LIMIT_S = 5.0  # for asyncio tasks that were left behind to obey their cancellation

# Types that are not awaitable; faster than a look for `__await__`.
_NOT_AWAITABLE = frozenset({bool, bytes, dict, float, int, list, str, tuple, type(None)})

# Types of results whose making has not begun.
_UNBEGUN = frozenset({AsyncGeneratorType, GeneratorType})

_log = logging.getLogger("radical.asyncflow.worker")


@public("radical.asyncflow.worker")
def call(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    task: TaskContext | None = None,
) -> Any:
    """Call *function* and return its result; await an awaitable one on this thread's loop.

    Asyncio tasks that the function leaves behind are cancelled before this returns.
    If a `TaskContext` is current, cancelling it cancels the asyncio task that runs the
    function.

    Args:
        task: a `TaskContext` that becomes current, and stays so: for a `contextvars.Context`
            in which nothing but this runs.

    Raises:
        asyncio.CancelledError: it was cancelled and did not handle that.
        TypeError: it returned a generator.
        BaseException: whatever the function raises.
    """
    if task is not None:
        set_current(task)
    result = function(*args, **kwargs)
    if type(result) in _NOT_AWAITABLE:
        return result
    if type(result) is CoroutineType or hasattr(type(result), "__await__"):
        result = _runner().run(result)
    check_result(result)
    return result


def check_result(result: Any) -> None:
    """Raise TypeError if *result* is a generator, which only whoever takes its items would run."""
    if type(result) in _UNBEGUN:
        raise TypeError(
            "the function returned a generator, whose items are made only where they are taken: "
            "return a list of them"
        )


@public("radical.asyncflow.worker")
def close_loop() -> None:
    """Close this thread's loop, if it has one; call this when the thread ends."""
    runner = getattr(_thread, "runner", None)
    if runner is not None:
        del _thread.runner
        runner.close()


class _Runner:
    """A loop and the asyncio tasks that were started on it."""

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
            # In the loop's thread.  Only once, so that no await of a handler is cancelled.
            nonlocal told
            if not told:
                told = True
                task.cancel()

        def on_cancel() -> None:
            try:
                loop.call_soon_threadsafe(tell)
            except RuntimeError:
                if not loop.is_closed():  # if it is, the task has ended as well
                    raise

        context.on_cancel = on_cancel
        if context.cancelled:
            on_cancel()

    def _cancel_left_over(self) -> None:
        # One deadline for all rounds: a task may start another while it is cancelled.
        deadline = self.loop.time() + _CANCEL_LIMIT_S
        while self._tasks and self.loop.time() < deadline:
            for task in self._tasks:
                task.cancel()
            self.loop.run_until_complete(
                asyncio.wait(tuple(self._tasks), timeout=deadline - self.loop.time())
            )
        if self._tasks:
            _log.warning(
                "a task left %d asyncio tasks behind, which ignored their cancellation for %g s; "
                "their event loop is given up",
                len(self._tasks),
                _CANCEL_LIMIT_S,
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
