"""Run a function, sync or async, to its end in this thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from .._public import public
from ._context import TaskContext, set_current
from ._loop import run_awaitable

__all__ = ["call", "check_result"]

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
    result = function(*args, **kwargs)
    kind = type(result)
    if kind in _NOT_AWAITABLE:
        return result
    if kind is CoroutineType or hasattr(kind, "__await__"):
        result = run_awaitable(result)
        kind = type(result)
    if kind in _UNBEGUN:
        check_result(result)
    return result


def check_result(result: Any) -> None:
    """Raise TypeError if *result* is a generator, which only whoever takes its items would run."""
    if type(result) in _UNBEGUN:
        raise TypeError(
            "the function returned a generator, whose items are made only where they are taken: "
            "return a list of them"
        )
