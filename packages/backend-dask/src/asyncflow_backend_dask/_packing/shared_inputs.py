"""Calls that wait for what they do not need, because of the Dask task that they are in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from radical.asyncflow.backend import TaskId

from .._program.graphs import Sent
from .._program.jobs import Job
from .._program.ledger import Ledger

__all__ = ["Ties"]

_LOOK = 0.5  # seconds between two looks, at the least
_SHARE = 20  # and how many times as long as a look takes: many ties must not cost much
_LONG = 5.0  # seconds that a call waits at the most while others end

Loosened = Mapping[str, Sequence[tuple[TaskId, int]]]
"""``{key: [(task id, attempt)]}``"""


class _Tie:
    """A Dask task that may wait for more than its calls do.

    Attributes:
        since: when one of them was first seen to have all that it needs.
    """

    __slots__ = ("behind", "jobs", "since")

    def __init__(self, jobs: Sequence[Job], behind: Collection[str]) -> None:
        self.jobs = jobs
        self.behind = frozenset(behind)
        self.since: float | None = None


class Ties:
    """Sees to it that no call waits for long for the dependencies of another.

    Calls of one Dask task begin when all that any of them needs is there, and a value is
    there when the whole Dask task is over that makes it.  As they are short this is soon;
    but one of them may be held up, even by a call that waits for the result of its
    neighbour.  Then the calls are asked back, to be sent alone.
    """

    def __init__(self, ledger: Ledger, loosen: Callable[[Loosened], None]) -> None:
        """*loosen* asks these calls back, as far as they have not begun."""
        self._ledger = ledger
        self._loosen = loosen
        self._waiting: dict[str, _Tie] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ended = 0

    def watch(self, sent: Sent) -> None:
        """Look after *sent*, if it may wait for more than it needs."""
        if not sent.behind:
            return
        packs = self._ledger.packs
        if sent.mixed or any(key in packs or key in self._waiting for key in sent.behind):
            self._waiting[sent.key] = _Tie(sent.jobs, sent.behind)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        still = self._ledger.ended == self._ended
        self._ended = self._ledger.ended
        late: dict[str, list[tuple[TaskId, int]]] = {}
        for key, tie in tuple(self._waiting.items()):
            jobs = [job for job in tie.jobs if job.key == key and not job.over]
            if not jobs or any(job.worker is not None for job in jobs):
                del self._waiting[key]
            elif self._late(tie, jobs, now, still) or not tie.behind.isdisjoint(late):
                # What was to come after a late one refers to it by its key.
                del self._waiting[key]
                late[key] = [(job.task_id, job.attempt) for job in jobs]
        if late:
            self._loosen(late)
        self._timer = None
        if self._waiting:
            pause = max(_LOOK, _SHARE * (loop.time() - now))
            self._timer = loop.call_later(pause, self._look)

    def _late(self, tie: _Tie, jobs: Sequence[Job], now: float, still: bool) -> bool:
        open_ = self._ledger.jobs
        if not any(open_.keys().isdisjoint(job.request.dependencies) for job in jobs):
            return False
        if tie.since is None:
            tie.since = now
            return False
        return still or now - tie.since > _LONG
