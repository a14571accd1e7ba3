"""The live page of a flow."""

from __future__ import annotations

from typing import Self

from .._live._page_process import PageProcess
from .._threads.calls import Calls
from ..engine import WorkflowEngine
from ..engine._serving import serve_page, stop_page

__all__ = ["PageAddress", "serve"]


class PageAddress(str):
    """The address of a live page; as a context, it ends the page with its block."""

    _engine: WorkflowEngine
    _calls: Calls
    _page: PageProcess

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._calls.closed:
            self._calls.wait(stop_page(self._engine, self._page))


def serve(engine: WorkflowEngine, calls: Calls, port: int, token: str | None) -> PageAddress:
    """Begin to serve the page of *engine*, and return its address."""
    if calls.is_own_thread():
        raise RuntimeError(
            "this code runs in the loop of the engine: use await flow.engine.serve()"
        )
    page = calls.run(lambda: serve_page(engine, port, token))
    address = PageAddress(page.url)
    address._engine, address._calls, address._page = engine, calls, page
    return address
