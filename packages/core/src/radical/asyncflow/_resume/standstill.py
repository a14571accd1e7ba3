"""Write beside the journal what tasks wait for, as soon as something waits for long.

From the journal others see which task depends on which, but not why a backend has not begun a
task.  That is written into a file of its own, never into the journal: it holds for a moment only.
"""

from __future__ import annotations

import asyncio
import logging
from time import time

from .._dispatch.background import Background
from .._dispatch.run import Run
from .._dispatch.waiting import LiveTasks
from ..aside import in_thread
from ..journal._waits import RunWaits, TaskGroup, ranges_of, remove_waits, write_waits

__all__ = ["Standstill"]

log = logging.getLogger("radical.asyncflow")

LOOK_EVERY_S = 5.0
"""Seconds between two looks.  What is seen twice waits for long."""

MOST_LOOKED_AT = 2000
"""The most tasks that one look is about, which takes some milliseconds; of more, a sample."""

MOST_GROUPS = 16
MOST_HOLDERS = 5
MOST_TEXT = 300


class Standstill:
    """The looks at what waits in a run, from `begin` to `end`.

    Args:
        journal: the path of the journal.
    """

    def __init__(self, run: Run, background: Background, journal: str) -> None:
        self._run = run
        self._background = background
        self._journal = journal
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._seen: frozenset[tuple[str, str]] = frozenset()
        self._is_there = False

    def begin(self) -> None:
        """Look from now on."""
        self._timer = self._run.loop.call_later(LOOK_EVERY_S, self._look)

    async def end(self) -> None:
        """Look no more, and remove the file."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        await in_thread(remove_waits, self._journal)  # also that of a run that was killed

    def _look(self) -> None:
        self.begin()
        if self._writing is not None and not self._writing.done():
            return  # the file system is slow
        groups = [] if self._run.scheduler.idle else self._groups()
        seen = frozenset((group.kind, group.text) for group in groups)
        last = [group for group in groups if (group.kind, group.text) in self._seen]
        self._seen = seen
        if last or self._is_there:
            self._is_there = bool(last)
            self._writing = self._background.spawn(self._write(last))

    def _groups(self) -> list[TaskGroup]:
        tasks = LiveTasks(self._run)
        nodes, scale = tasks.sample(MOST_LOOKED_AT)
        return [
            TaskGroup(
                kind=wait.kind.value,
                text=wait.text[:MOST_TEXT],
                backend=members[0].backend or "",
                tasks=ranges_of(node._number for node in members),
                number=len(members) * scale,
                complete=scale == 1,
                holders=list(wait.holders)[:MOST_HOLDERS],
                held_by=max(wait.held_by, len(wait.holders)),
                seconds=wait.seconds,
            )
            for wait, members in tasks.groups(nodes)[:MOST_GROUPS]
        ]

    async def _write(self, groups: list[TaskGroup]) -> None:
        try:
            if groups:
                waits = RunWaits(self._run.uid, time(), tuple(groups))
                await in_thread(write_waits, self._journal, waits)
            else:
                await in_thread(remove_waits, self._journal)
        except OSError as error:
            if self._timer is not None:
                self._timer.cancel()
            log.warning("what tasks wait for is not written any more: %s", error)
