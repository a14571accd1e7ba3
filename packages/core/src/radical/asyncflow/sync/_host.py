"""The threads in which the engines of flows run."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

from .._threads.calls import Calls
from ..engine import WorkflowEngine

__all__ = ["Home", "Host"]

log = logging.getLogger("radical.asyncflow")


class _Started(NamedTuple):
    engine: WorkflowEngine
    stop: asyncio.Event


_LOCK = threading.RLock()
"""Guards the counts of all homes; the end of a forgotten flow may come while it is held."""


class Home:
    """A thread with an event loop, for the engines of one flow or of several.

    A backend lives in one loop.  So flows that are given the same backend have one home.

    Attributes:
        thread: that thread.
        loop: its loop.
    """

    _all: ClassVar[tuple[Home, ...]] = ()

    def __init__(self) -> None:
        ready: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._stop = asyncio.Event()
        self._flows = 0
        self._backends: list[object] = []
        self.thread = threading.Thread(
            target=lambda: asyncio.run(self._live(ready)), name="asyncflow", daemon=True
        )
        self.thread.start()
        self.loop = ready.result()

    @classmethod
    def of(cls, backends: Sequence[object]) -> Home:
        """Return the home of one of *backends*, or a new one; a flow has to `leave` it."""
        with _LOCK:
            home = next((home for home in cls._all if home._enter(backends)), None)
            if home is None:
                home = cls()
                home._flows = 1
                cls._all = (*cls._all, home)
            home._backends += backends
            return home

    @classmethod
    def check(cls, backends: Sequence[object]) -> None:
        """Raise a RuntimeError if the caller runs in the home of *backends*, and cannot wait."""
        if any(home.is_here() and home._has(backends) for home in cls._all):
            raise RuntimeError(
                "a block or a callback cannot make a flow that shares the backend of the flow it "
                "runs in; await WorkflowEngine.create(backend) there"
            )

    def _has(self, backends: Sequence[object]) -> bool:
        return any(own is given for own in self._backends for given in backends)

    def _enter(self, backends: Sequence[object]) -> bool:
        """Count one more flow if one of *backends* lives here; return whether it does."""
        if not self._has(backends):
            return False
        self._flows += 1
        # A forgotten flow may have left meanwhile, wherever this thread collects garbage.
        return self in Home._all

    def add(self, backends: Iterable[object]) -> None:
        """Note that *backends* live here, too."""
        with _LOCK:
            self._backends += backends

    def leave(self) -> None:
        """Note that one flow has ended; the last one ends the thread."""
        with _LOCK:
            self._flows -= 1
            if self._flows:
                return
            Home._all = tuple(home for home in Home._all if home is not self)
        self.loop.call_soon_threadsafe(self._stop.set)
        if not self.is_here():
            self.thread.join()

    def is_here(self) -> bool:
        """Tell whether the caller runs in this thread."""
        return threading.current_thread() is self.thread

    async def _live(self, ready: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        ready.set_result(asyncio.get_running_loop())
        await self._stop.wait()


class Host:
    """The place of one engine in a thread that has an event loop.

    Attributes:
        engine: that engine.
        calls: the way into its loop.
    """

    def __init__(self, creation: Awaitable[WorkflowEngine], backends: Sequence[object]) -> None:
        """Make the engine in a thread of its own, or in that of one of *backends*.

        Args:
            backends: the instances among the backends of the engine.

        Raises:
            Exception: what the creation of the engine raised.
        """
        started: concurrent.futures.Future[_Started] = concurrent.futures.Future()
        self._home = Home.of(backends)
        assert self._home.thread.ident is not None
        self.calls = Calls(self._home.loop, self._home.thread.ident)
        self._life = asyncio.run_coroutine_threadsafe(_live(creation, started), self._home.loop)
        try:
            self.engine, self._stop = started.result()
        except BaseException:
            if started.cancel():  # it was interrupted: the engine ends when it is there
                self._life.add_done_callback(lambda _: self._home.leave())
            else:
                self._home.leave()
            raise
        self._home.add(self.engine.backends.values())  # those that were given by name

    def end(self, ending: Coroutine[Any, Any, None]) -> None:
        """Make the calls that wait, run *ending*, which shuts the engine down, and leave.

        If this is interrupted, as by Ctrl-C, the tasks are cancelled.

        Raises:
            RuntimeError: it was called in the loop, which cannot end itself.
            Exception: what *ending* raised.
        """
        if self.calls.is_own_thread() or self._life.done():
            ending.close()
            if not self._life.done():
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
            self._home.loop.call_soon_threadsafe(self._stop.set)
            self._life.result()
            self._home.leave()

    def abandon(self) -> None:
        """End an engine that nobody refers to any more, or that is there as the program ends."""
        if not self._life.done() and not self.calls.is_own_thread():
            log.warning(
                "flow %s was not shut down; use 'with Flow(...)' or flow.shutdown()",
                self.engine.uid,
            )
            self.end(self.engine.shutdown())


async def _live(
    creation: Awaitable[WorkflowEngine], started: concurrent.futures.Future[_Started]
) -> None:
    """Make the engine, and keep its place until `Host.end` stops it."""
    stop = asyncio.Event()
    try:
        engine = await creation
    except BaseException as error:
        started.set_exception(error)
        return
    try:
        started.set_result(_Started(engine, stop))
    except concurrent.futures.InvalidStateError:
        await engine.shutdown()
        return
    await stop.wait()
