"""Blocking work beside the loop, in a thread of its own: for backends and the engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

__all__ = ["in_thread"]

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call *function* in a new daemon thread, and return what it returns.

    The pool of `asyncio.to_thread` would stay, and a thread that hangs there keeps the program
    from ending.  If the wait is cancelled, the thread goes on by itself.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():
            set_outcome(outcome)

    def work() -> None:
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            report: tuple[Callable[[Any], None], Any] = (future.set_exception, error)
        else:
            report = (future.set_result, result)
        with suppress(RuntimeError):  # the loop was closed without waiting for us
            loop.call_soon_threadsafe(settle, *report)

    thread = threading.Thread(target=work, name="asyncflow-aside", daemon=True)
    thread.start()
    try:
        return await future
    finally:
        if future.done() and not future.cancelled():
            thread.join()  # it has nothing left to do; afterwards it is really gone
