"""A live page that is served by a thread of the test, and what asks for it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import page as page
from radical.asyncflow._live import Follower
from radical.asyncflow._live._serving import hub_of, listen, serve

TOKEN = "0123456789abcdefghij"
PATIENCE_S = 60.0


@contextmanager
def served(journal: Path, port: int = 0) -> Iterator[int]:
    """Serve the page of the last run in *journal*, and yield its port."""
    pytest.importorskip("uvicorn")
    ending = threading.Event()
    listener = listen(port)
    follower = Follower(journal)

    async def run() -> None:
        await serve(hub_of(follower), listener, TOKEN, stays=True, gone=ending.is_set)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    found: int = listener.getsockname()[1]
    thread.start()
    try:
        yield found
    finally:
        ending.set()
        thread.join(PATIENCE_S)
        follower.close()
        assert not thread.is_alive()


def ask(
    port: int, path: str = f"/{TOKEN}/", method: str = "GET", **headers: str
) -> tuple[int, Mapping[str, str], bytes]:
    """Return the status, the headers and the body of an answer; ``Sec_Fetch_Site="none"``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=names)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


class Viewer:
    """Somebody who gets the messages of a page, and who knows what they said so far.

    Attributes:
        id: of the last message.
        tasks: the states of the tasks as the page knows them, by number.
        parts: the parts of the page.
        size: the bytes that came.
    """

    STATES = ("DONE", "FAILED", "CANCELLED", "RUNNING", "SUBMITTED", "PENDING", "REUSED")

    def __init__(self, port: int, after: str = "", token: str = TOKEN) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        headers = {"Last-Event-ID": after} if after else {}
        self._connection.request("GET", f"/{token}/events", headers=headers)
        self.answer = self._connection.getresponse()
        self.id = after
        self.tasks: dict[int, str] = {}
        self.parts: dict[str, str] = {}
        self.size = 0
        self.last: dict[str, Any] = {}

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.answer.close()
        self._connection.close()

    def read(self) -> dict[str, Any] | None:
        """Return the next message; None if there is none any more."""
        data = ""
        for line in self.answer:
            self.size += len(line)
            text = line.decode().rstrip("\n")
            if text.startswith("id: "):
                self.id = text[4:]
            elif text.startswith("data: "):
                data = text[6:]
            elif not text and data:
                self.last = json.loads(data)
                self._take(self.last)
                return self.last
        return None

    def _take(self, message: Mapping[str, Any]) -> None:
        rows = message.get("rows", {})
        for place, number in enumerate(rows.get("number", ())):
            state = rows["state"]
            code = state[place] if isinstance(state, list) else state
            self.tasks[number] = self.STATES[code]
        self.parts |= message.get("parts", {})

    def until(self, true: Callable[[], bool]) -> None:
        """Read until *true*."""
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline
            assert self.read() is not None
