"""Run a function, sync or async, to its end in this thread."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from .._public import public
from ._context import TaskContext, set_current
from ._loop import run_awaitable

__all__ = ["call", "call_async", "check_result", "is_async"]

# Types that are not awaitable; faster than a look for `__await__`.
_NOT_AWAITABLE = frozenset({bool, bytes, dict, float, int, list, str, tuple, type(None)})

# Types of results whose making has not begun.
_UNBEGUN = frozenset({AsyncGeneratorType, GeneratorType})


@public("radical.asyncflow.worker")
def call(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    task: TaskContext | None = None,
) -> Any:
    """Call *function* and return its result; await an awaitable one on this thread's loop.

    What the function leaves in the loop is ended before this returns, as `asyncio.run` would
    end it: asyncio tasks are cancelled, and async generators are closed.  Threads of
    `asyncio.to_thread` are not waited for.  If a `TaskContext` is current, cancelling it
    cancels the asyncio task that runs the function.

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
    result = function(*args, **kwargs) if kwargs else function(*args)
    kind = type(result)
    if kind in _NOT_AWAITABLE:
        return result
    if kind is CoroutineType or hasattr(kind, "__await__"):
        result = run_awaitable(result)
        kind = type(result)
    if kind in _UNBEGUN:
        check_result(result)
    return result


@public("radical.asyncflow.worker")
async def call_async(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    task: TaskContext,
) -> Any:
    """Call the async *function* in a loop that runs other work too, and return its result.

    Args:
        task: it becomes current, and stays so: for an asyncio task that runs nothing but this.

    Raises:
        TypeError: it returned a generator.
        BaseException: whatever the function raises.
    """
    set_current(task)
    result = await function(*args, **kwargs)
    check_result(result)
    return result


@public("radical.asyncflow.worker")
def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether *function* is known to be async; one that returns an awaitable may not be."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object whose call is async
    )


def check_result(result: Any) -> None:
    """Raise TypeError if *result* is a generator, which only whoever takes its items would run."""
    if type(result) in _UNBEGUN:
        raise TypeError(
            "the function returned a generator, whose items are made only where they are taken: "
            "return a list of them"
        )
