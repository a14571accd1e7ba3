"""Futures of other libraries, which may belong to another event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from .._graph.hidden import is_dask_future

__all__ = ["wait_for"]


def wait_for(awaitable: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    """Return a coroutine that awaits *awaitable* in the event loop that it belongs to.

    Raises:
        TypeError: it is a future of Dask's, and its client is closed.
    """
    loop = _loop_of(awaitable)
    if loop is None or loop is asyncio.get_running_loop():
        return _await(awaitable)
    return _await_in(loop, awaitable)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _await_in(loop: asyncio.AbstractEventLoop, awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_await(awaitable), loop))


def _loop_of(awaitable: Any) -> asyncio.AbstractEventLoop | None:
    """Return the event loop of the client of a future of Dask's; None for anything else.

    A client that is not asynchronous has a loop in a thread of its own.  Only there are its
    futures what they look like, awaitable.

    Raises:
        TypeError: the client is closed.
    """
    kind = type(awaitable)
    loop: Any = None
    if is_dask_future(kind):
        client = awaitable.client
        if client.status == "closed":
            raise TypeError(
                f"the Dask future {awaitable.key!r} cannot be awaited any more, because its "
                "client is closed; pass its result, or close the client when the task is done"
            )
        loop = client.loop
    elif kind.__module__ == "distributed.actor":
        loop = getattr(awaitable, "_io_loop", None)
    return None if loop is None else loop.asyncio_loop
