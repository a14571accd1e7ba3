"""Which calls of one function share a Dask task, as Dask costs a millisecond for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from math import ceil

from radical.asyncflow.worker import Code

from .._program.jobs import Job

__all__ = ["PROBE", "Packer"]

_WORK = 0.02  # seconds of work that one Dask task should be worth
_MOST = 256  # calls in one Dask task
_ROUNDS = 4  # Dask tasks for each slot, so that all slots end at about the same time
PROBE = 0.05  # seconds after which more calls are tried of a function that nobody has seen
_FORGIVING = 0.2  # how much a slow call counts: one may be slow for other reasons
_DOUBT = 1e-4  # seconds by which it may count in any case; beyond, it at most doubles


class _Waiting:
    """Calls that wait until *probes* others have ended."""

    __slots__ = ("jobs", "probes", "timer")

    def __init__(self, jobs: Iterable[Job], probes: int, timer: asyncio.TimerHandle) -> None:
        self.jobs = dict.fromkeys(jobs)
        self.probes = probes
        self.timer = timer


class Packer:
    """Splits calls into groups; the first calls of a function tell how long it runs.

    Until they have ended the others wait here, and a few more go every `PROBE` seconds,
    so that no slot is idle.  A guess that is too low costs little: a worker gives back
    what waits behind a call that takes long.
    """

    def __init__(self, send: Callable[[Sequence[Sequence[Job]]], None]) -> None:
        """*send* takes the groups that waited."""
        self._send = send
        self._waiting: dict[int, _Waiting] = {}
        self._bulky: set[int] = set()

    def split(self, code: Code, jobs: list[Job], slots: int) -> list[list[Job]]:
        """The groups that may go now; none of *jobs* depends on another."""
        waiting = self._waiting.get(code.number)
        if waiting is not None:
            waiting.jobs.update(dict.fromkeys(jobs))
            return []
        probes = 2 * max(slots, 1)
        if code.seconds is not None or len(jobs) <= 2 * probes:
            return self._groups(code, jobs, slots)
        timer = asyncio.get_running_loop().call_later(PROBE, self._more, code, slots)
        self._waiting[code.number] = _Waiting(jobs[probes:], probes, timer)
        return [[job] for job in jobs[:probes]]

    def learn(self, code: Code, seconds: float, *, bulky: bool, slots: int) -> None:
        """A call took so long; it is *bulky* if its value stays on the worker."""
        if code.seconds is None or seconds < code.seconds:
            code.seconds = seconds
        else:
            more = _FORGIVING * (seconds - code.seconds)
            code.seconds += min(more, max(code.seconds, _DOUBT))
        if bulky:
            self._bulky.add(code.number)
        waiting = self._waiting.get(code.number)
        if waiting is not None:
            waiting.probes -= 1
            if waiting.probes <= 0:
                self._let_go(code, slots)

    def take(self, job: Job) -> bool:
        """Take *job* out, if it waits here."""
        waiting = self._waiting.get(job.code.number) if job.code is not None else None
        if waiting is None or job not in waiting.jobs:
            return False
        del waiting.jobs[job]
        return True

    def close(self) -> None:
        """Forget whatever waits here."""
        for waiting in self._waiting.values():
            waiting.timer.cancel()
        self._waiting.clear()

    def _more(self, code: Code, slots: int) -> None:
        """The time is up: all go if it is known how long they run, a few otherwise."""
        waiting = self._waiting[code.number]
        probes = 2 * max(slots, 1)
        if code.seconds is not None or len(waiting.jobs) <= probes:
            self._let_go(code, slots)
            return
        some = list(islice(waiting.jobs, probes))
        for job in some:
            del waiting.jobs[job]
        waiting.timer = asyncio.get_running_loop().call_later(PROBE, self._more, code, slots)
        self._send([[job] for job in some])

    def _let_go(self, code: Code, slots: int) -> None:
        waiting = self._waiting.pop(code.number)
        waiting.timer.cancel()
        if waiting.jobs:
            self._send(self._groups(code, list(waiting.jobs), slots))

    def most(self, code: Code) -> int:
        """How many calls may share a Dask task, as far as is known."""
        if code.seconds is None or code.number in self._bulky:
            return 1
        return max(1, min(_MOST, int(_WORK / max(code.seconds, 1e-6))))

    def size(self, code: Code, count: int, slots: int) -> int:
        """How many of *count* calls should share a Dask task, so that all slots have work."""
        return min(ceil(count / (_ROUNDS * max(slots, 1))), self.most(code))

    def _groups(self, code: Code, jobs: list[Job], slots: int) -> list[list[Job]]:
        size = self.size(code, len(jobs), slots)
        return [jobs[at : at + size] for at in range(0, len(jobs), size)]
