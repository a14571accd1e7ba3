"""The way from the threads of a program into the loop of the engine."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from threading import get_ident
from typing import Any, Generic, NamedTuple, TypeVar

from .._task.item import TaskItem as EngineItem
from ..errors import EngineClosedError
from .futures import TaskFuture, TaskItem, fail, follow

__all__ = ["Call", "Calls"]

T = TypeVar("T")

MOST_A_TURN = 1000
"""The most calls that one turn of the loop takes in, so that reports are not kept waiting."""

CONTAINERS = (list, tuple, dict, set)

CLOSED = "the engine was shut down"


class Call(NamedTuple):
    """A call of a task on its way into the loop.

    Attributes:
        context: that of the caller.
        future: waits for it.
    """

    task: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    context: Context
    future: TaskFuture[Any]

    def make(self, calls: Calls) -> None:
        """Call the task, and let the caller's future follow that of the engine."""
        try:
            made = self.context.run(
                self.task,
                *[calls.in_loop(value) for value in self.args],
                **{name: calls.in_loop(value) for name, value in self.kwargs.items()},
            )
        except Exception as error:
            fail(self.future, error)
        else:
            follow(made, self.future)

    def refuse(self) -> None:
        """Let the call fail, because the engine is gone."""
        fail(self.future, EngineClosedError(CLOSED))


class _Question(NamedTuple, Generic[T]):
    """A function that a thread wants to run in the loop, after all calls before it."""

    function: Callable[[], T]
    answer: concurrent.futures.Future[T]

    def make(self, _calls: Calls) -> None:
        """Answer with what the function returns or raises."""
        try:
            self.answer.set_result(self.function())
        except Exception as error:
            self.answer.set_exception(error)

    def refuse(self) -> None:
        """Answer that the engine is gone."""
        self.answer.set_exception(EngineClosedError(CLOSED))


class Calls:
    """A queue of calls from any thread, and the loop in whose thread they are made.

    A call wakes the loop only if the loop does not know yet that there is one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        self._loop = loop
        self._thread = thread
        self._queue: deque[Call | _Question[Any]] = deque()
        self._is_awake = False
        self.closed = False

    def is_own_thread(self) -> bool:
        """Tell whether the caller runs in the thread of the loop."""
        return get_ident() == self._thread

    def put(self, call: Call) -> None:
        """Have the loop make *call*.

        Raises:
            EngineClosedError: the engine was shut down.
        """
        self._put(call)

    def make(self, call: Call) -> None:
        """Make *call* at once if the caller is in the thread of the loop; else as `put`.

        Raises:
            EngineClosedError: the engine was shut down.
        """
        if not self.is_own_thread():
            self._put(call)
        elif self.closed:
            raise EngineClosedError(CLOSED)
        else:
            call.make(self)

    def run(self, function: Callable[[], T]) -> T:
        """Return ``function()``, which runs in the loop after all calls so far.

        Once the engine was shut down, nothing changes any more, and it runs here.

        Raises:
            EngineClosedError: the engine is shut down meanwhile.
            Exception: what *function* raised.
        """
        if self.closed or self.is_own_thread():
            return function()
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._put(_Question(function, answer))
        return answer.result()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run *coroutine* in the loop, and return its result.

        If the wait is interrupted, as by Ctrl-C, *coroutine* is cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(_exits_as_values(coroutine), self._loop)
        try:
            result = future.result()
        except BaseException:
            future.cancel()
            raise
        if isinstance(result, _Exit):
            raise result.error
        return result

    def close(self) -> None:
        """Refuse further calls, and those that were not made yet."""
        self.closed = True
        while self._queue:
            self._queue.popleft().refuse()

    def in_loop(self, value: Any) -> Any:
        """Return *value* with futures of the engine in place of those that its callers have."""
        kind = type(value)
        if kind is TaskItem:
            return EngineItem(self.in_loop(value._future), value._keys)
        if kind is TaskFuture:
            if value._calls is self and value._task is not None:
                return value._task
            # One of another flow, or whose own call failed, is awaited as any other future.
            return asyncio.wrap_future(value)
        if kind not in CONTAINERS or not _holds_futures(value):
            return value
        if kind is dict:
            return {name: self.in_loop(item) for name, item in value.items()}
        return kind(map(self.in_loop, value))

    def _put(self, item: Call | _Question[Any]) -> None:
        if self.closed:
            raise EngineClosedError(CLOSED)
        self._queue.append(item)
        if not self._is_awake:
            self._is_awake = True
            try:
                self._loop.call_soon_threadsafe(self._take_in)
            except RuntimeError:  # the loop was closed
                self.close()
                raise EngineClosedError(CLOSED) from None

    def _take_in(self) -> None:
        # Before the queue is looked at: a call that comes meanwhile wakes the loop again.
        self._is_awake = False
        queue = self._queue
        for _ in range(min(len(queue), MOST_A_TURN)):
            queue.popleft().make(self)
        if queue and not self._is_awake:
            self._is_awake = True
            self._loop.call_soon(self._take_in)


class _Exit(NamedTuple):
    error: BaseException


async def _exits_as_values(coroutine: Coroutine[Any, Any, T]) -> T | _Exit:
    """Return what *coroutine* returns, or the `SystemExit` that would end the loop's thread."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        return _Exit(error)


def _holds_futures(value: Any) -> bool:
    """Tell whether a container holds such a future, however deep."""
    items = value.values() if type(value) is dict else value
    kinds = set(map(type, items))
    if TaskFuture in kinds or TaskItem in kinds:
        return True
    return not kinds.isdisjoint(CONTAINERS) and any(
        type(item) in CONTAINERS and _holds_futures(item) for item in items
    )
