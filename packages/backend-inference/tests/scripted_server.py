"""A server whose replies a test decides, for what no real server does on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple


class Request(NamedTuple):
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: Any

    @property
    def text(self) -> str:
        """The text of the last message."""
        return str(self.body["messages"][-1]["content"])


class Reply(NamedTuple):
    """What the server sends.

    Attributes:
        announced: the number of bytes that are announced and do not come.
        cut: True to end the connection instead.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})
    cut: bool = False
    announced: int = 0


Script = Callable[[Request], Awaitable[Reply] | Reply]


def completion(text: str | None, finish_reason: str = "stop", **message: Any) -> Reply:
    reply = {
        "model": "scripted",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    }
    return Reply(body=json.dumps(reply).encode())


def stream(
    deltas: Iterable[Any], *, end: str | None = "stop", cut: bool = False, announced: int = 0
) -> Reply:
    """Return a reply in parts: a `str` is text, and a dict a whole delta."""
    events: list[Any] = [
        {"choices": [{"delta": {"content": item} if isinstance(item, str) else item}]}
        for item in deltas
    ]
    if end is not None:
        events.append({"choices": [{"delta": {}, "finish_reason": end}], "model": "scripted"})
        events.append({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
    # Not escaped: a separator of lines in a text is no end of a line of the stream.
    lines = [f"data: {json.dumps(event, ensure_ascii=False)}\r\n\r\n" for event in events]
    if end is not None:
        lines.append("data: [DONE]\n\n")
    body = ": a comment\n\n" + "".join(lines)
    headers = {"content-type": "text/event-stream"}
    return Reply(200, body.encode(), headers, cut, announced)


def error(status: int, message: str = "no", code: str = "", **headers: str) -> Reply:
    body = json.dumps({"error": {"message": message, "code": code}}).encode()
    return Reply(status, body, {key.replace("_", "-"): value for key, value in headers.items()})


class ScriptedServer:
    """A server on a free port.

    Attributes:
        url: its address.
        requests: what came, the oldest first.
        script: decides what it replies to a prompt.
        open: how many requests are unanswered.
        most_open: the most that ever were.
        connections: how many connections came.
        gone: how many clients closed the connection before the reply.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.script: Script = lambda request: completion(f"about {request.text}")
        self.open = self.most_open = self.gone = self.connections = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                try:
                    reply = await self._reply(request, reader)
                finally:
                    self.open -= 1
                if reply is None:
                    self.gone += 1
                    return
                await self._send(writer, reply)
                if reply.cut:
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    async def _reply(self, request: Request, reader: asyncio.StreamReader) -> Reply | None:
        """Return what the script says; None if the client goes away before."""
        outcome = self.script(request)
        if isinstance(outcome, Reply):
            return outcome
        answering = asyncio.ensure_future(outcome)
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            done, _ = await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
            return answering.result() if answering in done else None
        finally:
            answering.cancel()
            leaving.cancel()
            await asyncio.wait([answering, leaving])

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        data = await reader.readexactly(int(headers.get("content-length", 0)))
        return Request(first.split()[1], headers, json.loads(data) if data else None)

    async def _send(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        announced = len(reply.body) + (reply.announced or (100 if reply.cut else 0))
        headers = {"content-length": str(announced), **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} Such", *(f"{a}: {b}" for a, b in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + reply.body)
        await writer.drain()


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        scripted.connections += 1
        tasks.add(asyncio.ensure_future(scripted._serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1")
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield scripted
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        await server.wait_closed()
