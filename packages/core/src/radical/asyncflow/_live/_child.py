"""The process that serves the page of a program, so that this costs the program nothing.

It reads the journal or, where there is none, the events that the program writes into a pipe.
The end of that pipe is the end of the program, whatever ended it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import threading
from collections import deque
from time import monotonic
from typing import Any

from ..journal import TaskRecord
from ._events import EventFeed
from ._follower import Follower
from ._hub import Hub
from ._run import LiveRun, RunHeader
from ._serving import hub_of, serve

__all__ = ["PipedEvents", "main"]

GRACE_S = 3.0
"""Seconds after the end of the program in which the end of the run is looked for."""


class Pipe:
    """The lines that the program writes, read by a thread of their own.

    Attributes:
        lines: those that were not taken yet.
        ended: when the program was gone; None while it is there.
    """

    def __init__(self) -> None:
        self.lines: deque[bytes] = deque()
        self.ended: float | None = None
        threading.Thread(target=self._read, name="asyncflow-page-pipe", daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            self.lines.append(line)
        self.ended = monotonic()

    def gone(self) -> bool:
        """Tell whether the program has been gone for long."""
        return self.ended is not None and monotonic() - self.ended > GRACE_S


class PipedEvents:
    """The source of a page whose program has no journal."""

    life_reason = ""

    def __init__(self, pipe: Pipe, run: LiveRun, began: float) -> None:
        self.run: LiveRun | None = run
        self._live = run
        self._pipe = pipe
        self._began = began
        self._feed = EventFeed(run, began)

    @property
    def state(self) -> str:
        """The outcome of the run, "running", or "killed" if the program is gone."""
        if self._live.outcome:
            return self._live.outcome
        return "running" if self._pipe.ended is None or self._pipe.lines else "killed"

    @property
    def now(self) -> float:
        """The seconds since the run began, or until its end."""
        if self._live.ended is not None:
            return self._live.ended
        ended = self._pipe.ended
        return (monotonic() if ended is None else ended) - self._began

    @property
    def behind(self) -> int:
        """About the bytes that are still to be taken in."""
        return sum(map(len, self._pipe.lines.copy()))

    def poll(self, seconds: float = 0.1) -> bool:
        """Take in what is new, and tell whether there was anything."""
        end = monotonic() + seconds
        changed = False
        while self._pipe.lines and monotonic() < end:
            self._feed.take_items(json.loads(self._pipe.lines.popleft()))
            changed = True
        return changed

    def task(self, number: int) -> TaskRecord | None:
        """Return what is known of a task; its error if that is among those that are kept."""
        run = self._live
        if not run.state_of(number):
            return None
        for cause in run.failures:
            for task in cause.tasks:
                if task.number == number:
                    return task
        return run.record(number)


def main(order: dict[str, Any]) -> None:
    """Serve the page that *order* asks for until the program is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Pipe()
    if order["journal"] is not None:
        hub = hub_of(Follower(order["journal"], order["run"]))
    else:
        run = LiveRun(RunHeader(order["run"], order["begun"], **order["about"]))
        hub = Hub(PipedEvents(pipe, run, order["clock"]))
    listener = socket.socket(fileno=order["listener"])
    asyncio.run(serve(hub, listener, order["token"], stays=False, gone=pipe.gone))
