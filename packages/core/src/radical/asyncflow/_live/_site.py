"""The addresses that a live page has, and who may ask for them.

Everything is read-only.  The token is a part of each address, so it needs no cookie, which
other programs of the same machine would get as well.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .._text import printable, printable_lines, task_id_text
from ..journal import ErrorRecord, TaskRecord
from ..report.words import log_line, usage_figures
from ._hub import Hub
from ._stream import Cursor

__all__ = ["server_of", "site"]

_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)

MAX_VIEWERS = 50
"""The most viewers at the same time."""

HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}


class _Guard:
    """The check of each request, before anything else sees it.

    A page of another site that has its name resolved to this machine (DNS rebinding) has that
    name as its Host; any page of another origin has another Origin.  The port is not compared,
    because a tunnel may have another one.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            status, text = refusal
            await PlainTextResponse(f"{text}\n", status, HEADERS)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not _LOOPBACK.fullmatch(host):
            return 403, "Ask for localhost or 127.0.0.1: this page is for this machine alone."
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            return 403, "Another page must not read this one."
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "Another page must not read this one; open its address yourself."
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "This page can only be read."
        token = scope["path"].split("/")[1]
        if not secrets.compare_digest(token.encode(), self._token):
            return 404, "The address must have the token that the program printed."
        return None


def site(hub: Hub, token: str) -> ASGIApp:
    """Return the application that shows *hub* at ``/TOKEN/``."""

    async def page(_: Request) -> HTMLResponse:
        text, policy = hub.page()
        policy += "; frame-ancestors 'none'"  # which only a header may say
        return HTMLResponse(text, headers={**HEADERS, "content-security-policy": policy})

    async def events(request: Request) -> PlainTextResponse | StreamingResponse:
        if hub.viewers >= MAX_VIEWERS:
            text = f"{MAX_VIEWERS} viewers are connected: close one of them.\n"
            return PlainTextResponse(text, 503, HEADERS)
        after = request.query_params.get("after") or request.headers.get("last-event-id", "")
        return StreamingResponse(
            _messages(hub, Cursor.parse(after)), headers=HEADERS, media_type="text/event-stream"
        )

    async def task(request: Request) -> JSONResponse:
        found = hub.source.task(request.path_params["number"])
        if found is None:
            return JSONResponse({}, 404, HEADERS)
        details = _details(found) | _waits(hub, found) | _tails(hub, found)
        return JSONResponse(details, headers=HEADERS)

    routes = [
        Route(f"/{token}/", page),
        Route(f"/{token}/events", events),
        Route(f"/{token}/task/{{number:int}}", task),
    ]
    return _Guard(Starlette(routes=routes), token)


async def _messages(hub: Hub, cursor: Cursor) -> AsyncIterator[bytes]:
    """Yield the messages for one viewer; the next one is made when the last was taken.

    So nothing is kept for a viewer that is slow: it gets less often what changed in between.
    """
    hub.enter()
    try:
        yield b"retry: 1000\n\n"
        while True:
            data, cursor, last = hub.news(cursor)
            yield data
            if last:
                return
            if cursor.filled < 0 or not data:
                while not await hub.wait():
                    yield b": still here\n\n"
            if hub.closed:
                return
    finally:
        hub.leave()


def _details(task: TaskRecord) -> dict[str, Any]:
    """Return what the panel of a task shows beyond what its row has."""
    used = ""
    if task.usage is not None:
        used = ", ".join(f"{what} {figure}" for what, figure in usage_figures(task.usage))
    found: dict[str, Any] = {
        "id": task_id_text(task.number),
        "arguments": task.arguments,
        "reused": task.reused,
        "why": task.why,
        "exit": None if task.exit_code is None else str(task.exit_code),
        "bytes": task.result_bytes,
        "error": None if task.error is None else _error(task.error),
        "attempts": [[each.attempt, _error(each.error)] for each in task.failed],
        "stdout": task.stdout and printable_lines(task.stdout),
        "stderr": task.stderr and printable_lines(task.stderr),
        "log": printable_lines("\n".join(map(log_line, task.logs))),
        "used": used,
    }
    return {name: value for name, value in found.items() if value not in (None, "", [])}


def _waits(hub: Hub, task: TaskRecord) -> dict[str, str]:
    words = hub.waits_of(task)
    return {"waits": printable_lines(words)} if words else {}


def _tails(hub: Hub, task: TaskRecord) -> dict[str, Any]:
    """Return the output that is not in the record, and whether there may soon be more of it."""
    found: dict[str, Any] = {}
    if shown := hub.tails_of(task):
        found["tails"] = [
            [tail.stream, printable(tail.about), printable_lines(tail.text)] for tail in shown
        ]
    if task.state == "RUNNING" or task.is_serving:
        found["runs"] = True
    return found


def _error(error: ErrorRecord) -> str:
    return printable_lines(error.traceback or f"{error.type}: {error.text}")


class _Server(uvicorn.Server):
    """A server that leaves all signals to the program."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_of(hub: Hub, token: str) -> uvicorn.Server:
    """Return the server of *hub*, which is told to end by its attribute ``should_exit``."""
    return _Server(
        uvicorn.Config(
            site(hub, token),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=1 << 14,
        )
    )
