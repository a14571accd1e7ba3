"""Write beside the journal what commands have written that run for long.

The journal gets the output of a command at its end.  What it has written before that is needed for
a moment only, and may be much, so it never goes into the journal but into a file of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from itertools import chain, islice
from time import time
from typing import Any

from .._dispatch.background import Background
from .._dispatch.run import Run
from .._task.future import TaskFuture
from ..aside import in_thread
from ..backend import TaskId, Written
from ..backend._lane import Lane
from ..journal._output import MOST_BYTES, RunOutput, remove_output, write_output
from ..model import TaskKind

__all__ = ["RunningOutput"]

log = logging.getLogger("radical.asyncflow")

LOOK_EVERY_S = 1.0
"""Seconds between two looks."""

LEAST_S = 1.0
"""Seconds that a command has run for before anybody looks."""

MOST_LOOKED_AT = 2000
"""The most commands that one look is about; the others are not followed."""

ANSWER_S = 10.0
"""Seconds that a backend has for its answer."""

_SMALL = 60  # bytes of a task in the file beside its text
_LEAST_TEXT = 100


class RunningOutput:
    """The looks at the commands that run, from the first one that lasts to `end`.

    Args:
        journal: the path of the journal.
        running: the tasks that run, by number, as they are at each look.
        seconds: tells for how long one of them runs.
    """

    def __init__(
        self,
        run: Run,
        background: Background,
        journal: str,
        running: Mapping[int, TaskFuture[Any]],
        seconds: Callable[[TaskFuture[Any]], float | None],
    ) -> None:
        self._run = run
        self._background = background
        self._journal = journal
        self._running = running
        self._seconds = seconds
        self._services: dict[int, TaskFuture[Any]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._asking: asyncio.Future[Mapping[TaskId, Written]] | None = None
        self._last: dict[int, tuple[int, Written]] = {}
        self._refused: set[Lane] = set()
        self._ended = False

    def begin(self) -> None:
        """Look from now on, if nobody does: a command runs that may last."""
        if self._timer is None and not self._ended:
            self._timer = self._run.loop.call_later(LOOK_EVERY_S, self._look)

    def add_service(self, node: TaskFuture[Any]) -> None:
        """Follow the command of *node*, a service that is up, until `remove_service`."""
        self._services[node._number] = node
        self.begin()

    def remove_service(self, node: TaskFuture[Any]) -> None:
        """Follow it no more, because it has ended."""
        self._services.pop(node._number, None)

    async def end(self) -> None:
        """Look no more, and remove the file."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
        if self._looking is not None:
            await asyncio.wait([self._looking])
        await in_thread(remove_output, self._journal)  # also that of a run that was killed

    def _look(self) -> None:
        self._timer = None
        if self._ended:
            return
        commands = [
            node for node in self._running.values() if node._spec.kind is TaskKind.EXECUTABLE
        ]
        if not (commands or self._services or self._last):
            return  # the next one that lasts begins anew
        self.begin()
        if self._looking is not None and not self._looking.done():
            return  # a backend, or the file system, is slow
        old = (node for node in commands if (self._seconds(node) or 0.0) >= LEAST_S)
        nodes = list(islice(chain(self._services.values(), old), MOST_LOOKED_AT))
        if nodes or self._last:
            self._looking = self._background.spawn(self._take(nodes))

    async def _take(self, nodes: list[TaskFuture[Any]]) -> None:
        """Ask the backends of *nodes*, and write what is new."""
        by_lane: dict[Lane, dict[TaskId, int]] = {}
        for node in nodes:
            lane: Lane | None = node._lane
            if lane is not None and lane.lost is None and lane not in self._refused:
                by_lane.setdefault(lane, {})[node._number] = node._attempt
        found: dict[int, tuple[int, Written]] = {}
        for lane, attempts in by_lane.items():
            for number, written in (await self._ask(lane, list(attempts))).items():
                if number in attempts:
                    found[number] = attempts[number], written
        found = _bounded(found)
        if found == self._last:
            return
        try:
            if found:
                output = RunOutput(self._run.uid, time(), found)
                await in_thread(write_output, self._journal, output)
            else:
                await in_thread(remove_output, self._journal)
            self._last = found
        except OSError as error:
            self._ended = True
            log.warning("what running commands write is not kept any more: %s", error)

    async def _ask(self, lane: Lane, numbers: list[TaskId]) -> Mapping[TaskId, Written]:
        """Return what the backend of *lane* says of the tasks; nothing if it does not answer."""
        asking = self._asking = asyncio.ensure_future(lane.backend.written(numbers))
        done, _ = await asyncio.wait([asking], timeout=ANSWER_S)
        if not done:
            asking.cancel()
            return {}
        try:
            told = asking.result().items()
            return {number: each for number, each in told if isinstance(each, Written)}
        except asyncio.CancelledError:  # by `end`
            return {}
        except Exception:  # foreign code
            self._refused.add(lane)
            log.exception("backend %r raised in written(), and is not asked again", lane.name)
            return {}


def _bounded(found: dict[int, tuple[int, Written]]) -> dict[int, tuple[int, Written]]:
    """Return *found* with texts so short that all of them fit into the file."""
    size = sum(_size(written) for _, written in found.values())
    if size <= MOST_BYTES:
        return found
    most = max(MOST_BYTES // (2 * len(found)) - _SMALL, _LEAST_TEXT)
    return {number: (attempt, _cut(written, most)) for number, (attempt, written) in found.items()}


def _size(written: Written) -> int:
    return _SMALL + sum(map(len, written[:2]))


def _cut(written: Written, most: int) -> Written:
    stdout, stderr, (before, before_stderr) = written
    if isinstance(stdout, str) and len(stdout) > most:
        before += len(stdout[:-most].encode())
        stdout = stdout[-most:]
    if isinstance(stderr, str) and len(stderr) > most:
        before_stderr += len(stderr[:-most].encode())
        stderr = stderr[-most:]
    return Written(stdout, stderr, (before, before_stderr))
