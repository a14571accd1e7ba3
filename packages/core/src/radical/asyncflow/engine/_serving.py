"""The live page of an engine: begun, and ended with the engine at the latest."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator
from time import monotonic
from typing import Protocol

from .._dispatch.dispatcher import Dispatcher
from .._display.watched import Watched
from .._live._events import begun_items
from .._live._page_process import PageProcess
from .._watch.listener import Listener
from ..aside import in_thread
from ..errors import EngineClosedError
from ..model import TaskState

__all__ = ["Served", "Serving", "close_all", "serve_page", "stop_page"]


class Served(Watched, Protocol):
    """An engine, as its page sees it."""

    _dispatcher: Dispatcher
    _pages: set[PageProcess]

    @property
    def uid(self) -> str:
        """The name of its run."""

    @property
    def closed(self) -> bool:
        """True once its shutdown has begun."""

    @property
    def _journal_path(self) -> str | None:
        """The journal of its run."""


class Serving:
    """A page that is not served yet: await it, or enter it with ``async with``."""

    def __init__(self, engine: Served, port: int, token: str | None) -> None:
        self._engine = engine
        self._port = port
        self._token = token
        self._page: PageProcess | None = None

    def __await__(self) -> Generator[None, None, str]:
        yield from asyncio.sleep(0).__await__()
        return serve_page(self._engine, self._port, self._token).url

    async def __aenter__(self) -> str:
        self._page = serve_page(self._engine, self._port, self._token)
        return self._page.url

    async def __aexit__(self, *exc: object) -> None:
        assert self._page is not None
        await stop_page(self._engine, self._page)


def serve_page(engine: Served, port: int = 0, token: str | None = None) -> PageProcess:
    """Begin to serve the page of *engine*, and print where it is.

    Raises:
        ConfigurationError, EngineClosedError: as for `WorkflowEngine.serve`.
    """
    if engine.closed:
        raise EngineClosedError("the engine was shut down, so it has no live page")
    journal = engine._journal_path
    page = PageProcess(engine.uid, journal, port=port, token=token)
    if journal is None:
        dispatcher = engine._dispatcher
        dispatcher.want_running()
        unfinished = [
            (node._number, node._spec.name, node._stage is TaskState.RUNNING)
            for node in dispatcher.run.scheduler.unfinished()
        ]
        page.send_items(begun_items(unfinished, monotonic()))
        listener = Listener("page", page.send)
        dispatcher.run.observers.listen([listener], dispatcher.run.lanes.values())
    engine._pages.add(page)
    if sys.stderr is not None:
        sys.stderr.write(f"{page.announcement}\n")
        sys.stderr.flush()
    return page


async def stop_page(engine: Served, page: PageProcess) -> None:
    """End *page*, unless *engine* has ended it already."""
    if page in engine._pages:
        engine._pages.discard(page)
        await in_thread(page.close)


async def close_all(pages: set[PageProcess]) -> None:
    """Let all *pages* tell the end of the run to their viewers, and end them."""
    ending = [*pages]
    pages.clear()
    await asyncio.gather(*(in_thread(page.close) for page in ending))
