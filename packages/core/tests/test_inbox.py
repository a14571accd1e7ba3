"""Reports come from any thread, and threads that are far ahead give way to the engine."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from radical.asyncflow.backend import _inbox
from radical.asyncflow.backend._inbox import MOST_UNREAD, Inbox, Sink


async def test_only_a_thread_that_is_far_ahead_of_the_engine_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_way: list[str] = []
    monkeypatch.setattr(
        _inbox, "sleep", lambda _: given_way.append(threading.current_thread().name)
    )
    inbox = Inbox(asyncio.get_running_loop(), lambda: None)
    sink = Sink(inbox, 0, "run", Path)

    def report(count: int) -> None:
        for number in range(count):
            sink.done(number, 1, "value")

    def report_in_thread(count: int) -> None:
        thread = threading.Thread(target=report, args=(count,), name="slot")
        thread.start()
        thread.join()

    report_in_thread(MOST_UNREAD)
    assert given_way == []
    report_in_thread(3)
    assert given_way == ["slot"] * 3
    report(3)
    assert given_way == ["slot"] * 3, "the engine never waits for itself"
    inbox.reports.clear()
    report_in_thread(1)
    assert given_way == ["slot"] * 3
