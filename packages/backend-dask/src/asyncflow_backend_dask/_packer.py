"""Which calls of one function share a Dask task, as Dask costs a millisecond for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import ceil

from radical.asyncflow.worker import Code

from ._jobs import Job

__all__ = ["Packer"]

_WORK = 0.02  # seconds of work that one Dask task should be worth
_MOST = 256  # calls in one Dask task
_ROUNDS = 4  # Dask tasks for each slot, so that all slots end at about the same time
_PROBE = 0.05  # seconds to wait for the run time of a function that nobody has seen


class Packer:
    """Splits calls into groups; the first calls of a function tell how long it runs.

    While they do, the others wait here, for `_PROBE` seconds at most.
    """

    def __init__(self, send: Callable[[Sequence[Sequence[Job]]], None]) -> None:
        """*send* takes the groups that waited."""
        self._send = send
        self._waiting: dict[int, tuple[Code, list[Job], asyncio.TimerHandle]] = {}
        self._bulky: set[int] = set()

    def split(self, code: Code, jobs: list[Job], slots: int) -> list[list[Job]]:
        """The groups that may go now; none of *jobs* depends on another."""
        waiting = self._waiting.get(code.number)
        if waiting is not None:
            waiting[1].extend(jobs)
            return []
        probes = 2 * slots
        if code.seconds is not None or len(jobs) <= 2 * probes:
            return self._groups(code, jobs, slots)
        timer = asyncio.get_running_loop().call_later(_PROBE, self._let_go, code, slots)
        self._waiting[code.number] = code, jobs[probes:], timer
        return [[job] for job in jobs[:probes]]

    def learn(self, code: Code, seconds: float, *, bulky: bool, slots: int) -> None:
        """A call took so long; it is *bulky* if its value stays on the worker."""
        code.learn(seconds)
        if bulky:
            self._bulky.add(code.number)
        if code.number in self._waiting:
            self._let_go(code, slots)

    def take(self, job: Job) -> bool:
        """Take *job* out, if it waits here."""
        waiting = self._waiting.get(job.code.number) if job.code is not None else None
        if waiting is None or job not in waiting[1]:
            return False
        waiting[1].remove(job)
        return True

    def take_all(self) -> list[Job]:
        """Take everything out."""
        found = []
        for _, jobs, timer in self._waiting.values():
            timer.cancel()
            found += jobs
        self._waiting.clear()
        return found

    def _let_go(self, code: Code, slots: int) -> None:
        waiting = self._waiting.pop(code.number, None)
        if waiting is not None:
            _, jobs, timer = waiting
            timer.cancel()
            if jobs:
                self._send(self._groups(code, jobs, slots))

    def _groups(self, code: Code, jobs: list[Job], slots: int) -> list[list[Job]]:
        size = 1
        if code.seconds is not None and code.number not in self._bulky:
            fair = ceil(len(jobs) / (_ROUNDS * max(slots, 1)))
            size = max(1, min(fair, _MOST, int(_WORK / max(code.seconds, 1e-6))))
        return [jobs[at : at + size] for at in range(0, len(jobs), size)]
