"""The thread in which the engine of a flow runs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any, NamedTuple

from .._threads.calls import Calls
from ..engine import WorkflowEngine

__all__ = ["Host"]

log = logging.getLogger("radical.asyncflow")


class _Started(NamedTuple):
    engine: WorkflowEngine
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event


class Host:
    """A thread with an event loop, and the engine that was made in it.

    Attributes:
        engine: that engine.
        calls: the way into its loop.
    """

    def __init__(self, creation: Awaitable[WorkflowEngine]) -> None:
        """Start the thread, and wait until the engine is there.

        Raises:
            Exception: what the creation of the engine raised.
        """
        started: concurrent.futures.Future[_Started] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(_live(creation, started)), name="asyncflow", daemon=True
        )
        self._thread.start()
        try:
            self.engine, self._loop, self._stop = started.result()
        except BaseException:
            if not started.cancel():  # else it was interrupted: the engine ends when it is there
                self._thread.join()
            raise
        assert self._thread.ident is not None
        self.calls = Calls(self._loop, self._thread.ident)

    def end(self, ending: Coroutine[Any, Any, None]) -> None:
        """Make the calls that wait, run *ending*, which shuts the engine down, and end the thread.

        If this is interrupted, as by Ctrl-C, the tasks are cancelled.

        Raises:
            RuntimeError: it was called in the loop, which cannot end itself.
            Exception: what *ending* raised.
        """
        if self.calls.is_own_thread() or not self._thread.is_alive():
            ending.close()
            if self._thread.is_alive():
                raise RuntimeError("a block or a callback cannot shut down the flow it runs in")
            return
        try:
            try:
                self.calls.run(lambda: None)
                self.calls.wait(ending)
            except KeyboardInterrupt:
                self.calls.wait(self.engine.shutdown())
                raise
        finally:
            self.calls.close()
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def abandon(self) -> None:
        """End an engine that nobody refers to any more, or that is there as the program ends."""
        if self._thread.is_alive() and not self.calls.is_own_thread():
            log.warning(
                "flow %s was not shut down; use 'with Flow(...)' or flow.shutdown()",
                self.engine.uid,
            )
            self.end(self.engine.shutdown())


async def _live(
    creation: Awaitable[WorkflowEngine], started: concurrent.futures.Future[_Started]
) -> None:
    """Make the engine, and keep its loop until `Host.end` stops it."""
    stop = asyncio.Event()
    try:
        engine = await creation
    except BaseException as error:
        started.set_exception(error)
        return
    try:
        started.set_result(_Started(engine, asyncio.get_running_loop(), stop))
    except concurrent.futures.InvalidStateError:
        await engine.shutdown()
        return
    await stop.wait()
