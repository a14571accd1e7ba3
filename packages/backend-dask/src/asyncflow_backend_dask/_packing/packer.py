"""Decide how many calls of one function share a Dask task."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, islice
from math import ceil
from operator import attrgetter

from radical.asyncflow.worker import Code

from .._program.jobs import Job
from .sizes import bag_sizes, max_calls_in_graph

__all__ = ["PROBE_INTERVAL_S", "Packer"]

PROBE_INTERVAL_S = 0.05
"""After this time more calls of a function are tried while nobody knows how long it runs."""

_TASKS_PER_SLOT = 4  # in a graph, so that all slots end at about the same time
_MIN_GAP_S = 0.002  # calls that take less end sooner than others could reach the worker


_order = attrgetter("order")


class _Waiting:
    """Calls that wait until *probes* others have ended.

    Attributes:
        refill: how many calls go when half of the probes have ended, so that no slot is idle.
    """

    __slots__ = ("jobs", "probes", "refill", "timer")

    def __init__(self, jobs: Iterable[Job], probes: int, timer: asyncio.TimerHandle) -> None:
        self.jobs = dict.fromkeys(jobs)
        self.probes = probes
        self.refill = probes // 2
        self.timer = timer

    def take(self, count: int) -> list[Job]:
        """Take out the first *count* calls, or all if there are fewer."""
        taken = heapq.nsmallest(count, self.jobs, key=_order)
        for job in taken:
            del self.jobs[job]
        return taken


class Packer:
    """Splits the calls of a function into groups; its first calls tell how long it runs.

    Until these probes have ended the other calls wait here.  A few more go every
    `PROBE_INTERVAL_S`, so that no slot is idle.  An estimate that is too low costs little:
    a worker gives back what waits behind a call that takes long.
    """

    def __init__(self, send: Callable[[Sequence[Sequence[Job]]], None]) -> None:
        """Hand the groups that waited to *send*."""
        self._send = send
        self._waiting: dict[int, _Waiting] = {}
        self._with_large_values: set[int] = set()

    def split(self, code: Code, jobs: list[Job], slots: int) -> list[list[Job]]:
        """Return the groups of *jobs* that may go now; no job depends on another."""
        waiting = self._waiting.get(code.number)
        if waiting is not None:
            waiting.jobs.update(dict.fromkeys(jobs))
            return []
        probes = 2 * max(slots, 1)
        if code.seconds is not None or len(jobs) <= 2 * probes:
            return self._groups(code, jobs, slots)
        timer = asyncio.get_running_loop().call_later(
            PROBE_INTERVAL_S, self._send_more, code, slots
        )
        jobs = sorted(jobs, key=_order)
        self._waiting[code.number] = _Waiting(jobs[probes:], probes, timer)
        return [[job] for job in jobs[:probes]]

    def learn(self, code: Code, seconds: float, *, is_large: bool, slots: int) -> None:
        """Learn that a call took *seconds*; *is_large* says that its value stays remote."""
        code.learn(seconds)
        if is_large:
            self._with_large_values.add(code.number)
        waiting = self._waiting.get(code.number)
        if waiting is None:
            return
        waiting.probes -= 1
        if waiting.probes <= 0:
            self._send_all(code, slots)
        elif waiting.probes == waiting.refill and seconds > _MIN_GAP_S:
            self._send([[job] for job in waiting.take(waiting.refill)])

    def remove(self, job: Job) -> bool:
        """Remove *job* if it waits here; return whether it did."""
        waiting = self._waiting.get(job.code.number) if job.code is not None else None
        if waiting is None or job not in waiting.jobs:
            return False
        del waiting.jobs[job]
        return True

    def close(self) -> None:
        """Forget all that waits here."""
        for waiting in self._waiting.values():
            waiting.timer.cancel()
        self._waiting.clear()

    def max_calls(self, code: Code) -> int:
        """Return how many calls in a graph may share a Dask task, as far as is known."""
        seconds = code.seconds
        if seconds is None or code.number in self._with_large_values:
            return 1
        return max_calls_in_graph(seconds)

    def group_size(self, code: Code, count: int, slots: int) -> int:
        """Return how many of *count* calls on one level of a graph should share a Dask task."""
        return min(ceil(count / (_TASKS_PER_SLOT * max(slots, 1))), self.max_calls(code))

    def _send_more(self, code: Code, slots: int) -> None:
        """Send all calls if their time is known by now, and a few more otherwise."""
        waiting = self._waiting[code.number]
        probes = 2 * max(slots, 1)
        if code.seconds is not None or len(waiting.jobs) <= probes:
            self._send_all(code, slots)
            return
        waiting.timer = asyncio.get_running_loop().call_later(
            PROBE_INTERVAL_S, self._send_more, code, slots
        )
        self._send([[job] for job in waiting.take(probes)])

    def _send_all(self, code: Code, slots: int) -> None:
        waiting = self._waiting.pop(code.number)
        waiting.timer.cancel()
        if waiting.jobs:
            self._send(self._groups(code, list(waiting.jobs), slots))

    def _groups(self, code: Code, jobs: list[Job], slots: int) -> list[list[Job]]:
        seconds = code.seconds
        if seconds is None or code.number in self._with_large_values:
            return [[job] for job in jobs]
        groups: list[list[Job]] = []
        for _, equals in groupby(sorted(jobs, key=_order), key=_order):
            same = list(equals)
            rest = iter(same)
            groups += [list(islice(rest, size)) for size in bag_sizes(len(same), seconds, slots)]
        return groups
