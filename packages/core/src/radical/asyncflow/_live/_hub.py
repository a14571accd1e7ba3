"""The one model that all viewers of a page look at, and the messages that each of them gets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

from .._html import Markup, tag
from .._text import task_id_text
from ..journal import RunRecord, TaskRecord
from ..journal._output import Tail
from ..journal._records import UNFINISHED
from ..journal._waits import RunWaits
from ..report import Facts, _page
from ..report._columns import columns
from ._run import STATES, LiveRun
from ._sections import Present, parts
from ._stream import Cursor, changes, message

__all__ = ["Hub", "Source"]

TICK_S = 0.25
"""Seconds between two looks at what is new."""

PARTS_S = 1.0
"""Seconds between two times that the written parts of the page are made."""

LOAD = 0.1
"""The largest share of the time that making these parts may take, if there are many."""

SILENCE_S = 10.0
"""Seconds after which a viewer who gets no news gets a sign of life."""

ENDS = ("done", "failed", "cancelled", "preempted", "killed")


def _nothing(_: str) -> None:
    """Say that nothing is known."""


def _no_tails(_: str, __: TaskRecord) -> list[Tail]:
    """Say that nothing is known beside the journal."""
    return []


class Source(Protocol):
    """A source of the model, which is a `Follower` or gets the events of a program."""

    @property
    def run(self) -> LiveRun | None: ...
    @property
    def state(self) -> str: ...
    @property
    def life_reason(self) -> str: ...
    @property
    def now(self) -> float: ...
    @property
    def behind(self) -> int: ...
    def poll(self, seconds: float = 0.1) -> bool:
        """Take in what is new, and tell whether there was anything."""

    def task(self, number: int) -> TaskRecord | None:
        """Return all that is known of a task."""


class Hub:
    """The present of *source*, and who looks at it; all in one event loop.

    Args:
        waits: returns what the tasks of a run, whose uid it gets, wait for.
        tails: returns the ends of what a task of that run has written, beside its record.

    Attributes:
        viewers: the number of those who get messages now.
        over: whether the run ended and nothing follows.
        closed: True once the server ends.
    """

    def __init__(
        self,
        source: Source,
        waits: Callable[[str], RunWaits | None] = _nothing,
        tails: Callable[[str, TaskRecord], list[Tail]] = _no_tails,
    ) -> None:
        self.source = source
        self.viewers = 0
        self._empty = asyncio.Event()
        self.over = False
        self.closed = False
        self._waits = waits
        self._tails = tails
        self._tick = asyncio.Event()
        self._run: LiveRun | None = None
        self._epoch = ""
        self._parts: dict[str, tuple[int, str]] = {}
        self._part_number = 0
        self._parts_due = 0.0
        self._messages: dict[Cursor, tuple[bytes, Cursor, bool]] = {}

    async def follow(self, *, stays: bool = False) -> None:
        """Follow the source until its run is over; with *stays* until this is cancelled."""
        while stays or not self.over:
            self.look()
            await asyncio.sleep(0.0 if self.source.behind > 1 << 16 else TICK_S)

    def look(self) -> None:
        """Take in what is new, and wake those who wait for it."""
        source = self.source
        source.poll()
        if source.run is not self._run:
            self.over = False
            self._run = source.run
            self._epoch = os.urandom(6).hex()
            self._parts.clear()
            self._parts_due = 0.0
        if self._run is not None and not self.over and monotonic() >= self._parts_due:
            self._make_parts(self._run)
        over = self._run is not None and source.state in ENDS and not source.behind
        if over and not self.over and self._run is not None:
            self._make_parts(self._run)
        self.over = over
        self._messages.clear()
        self._tick.set()
        self._tick = asyncio.Event()

    def _make_parts(self, run: LiveRun) -> None:
        began = monotonic()
        for name, html in parts(self.present(run)).items():
            known = self._parts.get(name)
            if known is None or known[1] != html:
                self._part_number += 1
                self._parts[name] = self._part_number, html
        self._parts_due = began + max(PARTS_S, (monotonic() - began) / LOAD)

    def present(self, run: LiveRun) -> Present:
        """Return what *run* is now."""
        source = self.source
        told = self._waits(run.uid) if source.state in ("running", "unknown", "killed") else None
        groups = () if told is None else told.groups
        waits = sorted(((group.number, group.text) for group in groups), reverse=True)
        return Present(run, source.state, source.life_reason, source.now, waits)

    def waits_of(self, task: TaskRecord) -> str:
        """Say what *task* waits for, as far as that is known; "" if it does not wait."""
        run = self._run
        if run is None or task.state not in ("PENDING", "SUBMITTED"):
            return ""
        waited = [number for number in task.after if run.state_of(number) in UNFINISHED]
        if waited:
            named = [f"{task_id_text(each)} {run.function_of(each).name}" for each in waited[:3]]
            more = f" and {len(waited) - 3:,} more" if len(waited) > 3 else ""
            return ", ".join(named) + more
        told = self._waits(run.uid)
        group = None if told is None else told.of(task.number, task.backend)
        return "" if group is None else group.text

    def tails_of(self, task: TaskRecord) -> list[Tail]:
        """Return the ends of what *task* has written so far, or has written to files."""
        return [] if self._run is None else self._tails(self._run.uid, task)

    def enter(self) -> None:
        """Count a viewer in."""
        self.viewers += 1
        self._empty.clear()

    def leave(self) -> None:
        """Count a viewer out."""
        self.viewers -= 1
        if not self.viewers:
            self._empty.set()

    def close(self) -> None:
        """Let every viewer go."""
        self.closed = True
        self._tick.set()

    async def wait_for_viewers(self, seconds: float) -> None:
        """Wait until all viewers left, for so many *seconds* at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.viewers:
                    await self._empty.wait()

    async def wait(self) -> bool:
        """Wait for the next look, and tell whether there was one; else nothing happens for long."""
        try:
            async with asyncio.timeout(SILENCE_S):
                await self._tick.wait()
        except TimeoutError:
            return False
        return True

    def news(self, cursor: Cursor) -> tuple[bytes, Cursor, bool]:
        """Return what follows *cursor* as a message, the next cursor, and whether it is the last.

        The message is empty if there is no run yet.
        """
        run = self._run
        if run is None:
            return b"", cursor, False
        if cursor.epoch != self._epoch:
            cursor = Cursor(self._epoch)
        known = self._messages.get(cursor)
        if known is None:
            known = self._messages[cursor] = self._message(run, cursor)
        return known

    def _message(self, run: LiveRun, cursor: Cursor) -> tuple[bytes, Cursor, bool]:
        found, following = changes(run, cursor)
        more = following.filled >= 0
        written = {
            name: html for name, (number, html) in self._parts.items() if number > cursor.parts
        }
        if written and not more:
            found["parts"] = written
            following = following._replace(parts=self._part_number)
        last = self.over and not more
        found |= {
            "state": self.source.state,
            "now": self.source.now,
            "title": f"{run.uid} · AsyncFlow",
            "slots": _slots(run, self.source.now),
            **({"more": True} if more else {}),
            **({"last": True} if last else {}),
        }
        return message(found, following), following, last

    def page(self) -> tuple[str, str]:
        """Return the page without any task, and its content security policy."""
        live = tag(
            "section",
            Markup.concat(
                tag("h2", "Now", id="now-head"),
                tag("div", "", data_part="now"),
            ),
            id="now",
            aria_labelledby="now-head",
        )
        names = ("head", "nav", "figures", "states", "functions", "backends")
        empty = {name: Markup() for name in (*names, "slowest", "failures", "retries", "cache")}
        if self._run is not None:
            texts = parts(self.present(self._run))
            empty = {name: Markup(texts[name]) for name in empty}
        return _page.fill(
            _page.LIVE_SCRIPTS,
            EMPTY,
            title=self._run.uid if self._run is not None else "AsyncFlow",
            policy="; connect-src 'self'",
            footer="Written by AsyncFlow $version while the run goes on. This page talks to the "
            "program that serves it, and to nobody else.",
            live=live,
            connection=tag("p", "", id="connection", role="status"),
            plugins=Markup(),
            **empty,
        )


def _slots(run: LiveRun, now: float) -> list[list[Any]]:
    """Return the slots of each backend, as the columns of a report have them."""
    return [
        [
            place,
            backend.slots,
            round((backend.up or 0.0) * 1e6),
            round((now if backend.down is None else backend.down) * 1e6),
        ]
        for place, backend in enumerate(run.backends.values())
    ]


_LISTS = (
    *("number", "state", "function", "backend", "worker", "workflow", "attempt", "lane", "cause"),
    *("critical", "functions", "backends", "workers", "workflows", "lanes", "causes", "slots"),
    "failed",
)
EMPTY: dict[str, Any] = {
    **columns(Facts(RunRecord("", 0.0))),
    "live": True,
    "unit": 1e-6,
    "states": [*STATES, "REUSED"],
    "bytes": None,
    **{name: [] for name in _LISTS},
}
