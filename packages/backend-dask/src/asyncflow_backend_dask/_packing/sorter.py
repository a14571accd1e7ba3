"""How jobs are split into Dask tasks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from radical.asyncflow.backend import TaskId, TaskRequest
from radical.asyncflow.errors import SerializationError
from radical.asyncflow.worker import Code

from .._program.fleet import Fleet
from .._program.graphs import Graphs
from .._program.jobs import Job
from .._program.ledger import Ledger
from .chains import Chains
from .levels import Levels
from .packer import PROBE, Packer

__all__ = ["Sorter"]

_SHARE = 20  # the next look waits for so many times what one took: many calls are held


class Sorter:
    """Decides which calls share a Dask task.

    Of one function, and short by what it took before: independent ones, those of a chain,
    and those of one level of a graph.  In a graph with many calls of a function that nobody
    has seen, the first ones tell how long it runs; until they have ended the others wait
    here, and a few more go from time to time, so that no slot is idle.
    """

    def __init__(
        self,
        ledger: Ledger,
        graphs: Graphs,
        packer: Packer,
        fleet: Fleet,
        annotations: Callable[[Job], Mapping[str, Any]],
        send: Callable[[Sequence[Sequence[Job]]], None],
        *,
        pack: bool,
    ) -> None:
        """*annotations* of a job are what Dask is told of how and where to run it.

        *send* takes groups, each behind those that it depends on.
        """
        self._ledger = ledger
        self._graphs = graphs
        self._packer = packer
        self._fleet = fleet
        self._annotations = annotations
        self._send = send
        self._pack = pack
        self._held: list[Job] = []
        self._probes: dict[int, int] = {}  # by function: how many may go, ...
        self._awaited: dict[int, int] = {}  # ... and for how many to end we wait
        self._timer: asyncio.TimerHandle | None = None

    def take(self, batch: Sequence[TaskRequest]) -> None:
        """Send *batch*; what is to wait for company, or to be known better, is kept.

        A job whose arguments cannot be pickled has failed.
        """
        jobs = self._ledger.jobs
        needed = {task_id for request in batch for task_id in request.dependencies}
        ahead: list[list[Job]] = []
        for task_id in needed:
            # What others wait for does not wait for company itself.
            job = jobs.get(task_id)
            if job is not None and not job.key and self._packer.take(job):
                ahead.append([job])
        loose: dict[int, list[Job]] = {}
        for request in batch:
            job = Job(request)
            jobs[job.task_id] = job
            try:
                if self._prepare(job, needed):
                    assert job.code is not None
                    loose.setdefault(job.code.number, []).append(job)
                else:
                    self._held.append(job)
            except SerializationError as exc:
                self._ledger.failed(job, exc)
        groups = ahead + self._groups()
        for alone in loose.values():
            code = alone[0].code
            assert code is not None
            groups += self._packer.split(code, alone, self._fleet.slots)
        self._send(groups)

    def learned(self, code: Code) -> None:
        """A call of it has ended."""
        left = self._awaited.get(code.number)
        if left is None:
            return
        if left > 1:
            self._awaited[code.number] = left - 1
        else:
            self._send(self._groups())

    def close(self) -> None:
        """Forget whatever waits here."""
        self._wait(None)
        self._held.clear()

    def _groups(self) -> list[list[Job]]:
        """Those of what is held that go now."""
        chains = Chains(job.request for job in self._held)
        units: list[list[Job]] = []
        for job in self._choose():
            try:
                if not self._follow(job, chains):
                    units.append(chains.begin(job))
            except SerializationError as exc:
                self._ledger.failed(job, exc)
        if self._pack and len(units) > 1:
            units = Levels(units, self._fits).groups(self._packer, self._fleet.slots)
        return units

    def _choose(self) -> list[Job]:
        """Take out of what is held whatever need not wait."""
        begun = time.monotonic()
        there = [job for job in self._held if not job.over]
        probes = 2 * max(self._fleet.slots, 1)
        unknown = Counter(
            job.code.number
            for job in there
            if job.code is not None and job.code.seconds is None and self._fits(job)
        )
        unknown = Counter({code: n for code, n in unknown.items() if n > 2 * probes})
        chosen: list[Job] = []
        self._held = []
        waiting: set[TaskId] = set()
        for job in there:
            stays = not waiting.isdisjoint(job.request.dependencies)
            if not stays and job.code is not None and job.code.number in unknown:
                number = job.code.number
                left = self._probes.setdefault(number, probes)
                self._awaited.setdefault(number, probes)
                stays = left == 0 and self._fits(job)
                if not stays and left:
                    self._probes[number] = left - 1
            if stays:
                waiting.add(job.task_id)
            (self._held if stays else chosen).append(job)
        for number in [number for number in self._awaited if number not in unknown]:
            del self._awaited[number]
            self._probes.pop(number, None)
        pause = max(PROBE, _SHARE * (time.monotonic() - begun))
        self._wait(pause if self._held else None)
        return chosen

    def _wait(self, seconds: float | None) -> None:
        """Look again in so many *seconds*, if that is not to be done already."""
        if seconds is None and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif seconds is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._more)

    def _more(self) -> None:
        self._timer = None
        self._probes.clear()
        self._send(self._groups())

    def _prepare(self, job: Job, needed: Collection[TaskId]) -> bool:
        """Pickle what can be; whether *job* is independent and may share a Dask task.

        Raises:
            SerializationError: its function or its arguments cannot be pickled.
        """
        request = job.request
        if job.is_command:
            return False
        job.code = self._graphs.codes.of(request.spec.function)
        if request.dependencies:
            return False
        job.payload = self._graphs.pickle_arguments(job)
        return job.task_id not in needed and self._fits(job)

    def _fits(self, job: Job) -> bool:
        """Whether others may share its Dask task, which none does if it has large arguments."""
        return (
            self._pack
            and job.code is not None
            and (job.payload is not None or bool(job.request.dependencies))
            and not self._annotations(job)
        )

    def _follow(self, job: Job, chains: Chains) -> bool:
        """Put *job* behind the one that it waits for, where nobody could tell the difference.

        Raises:
            SerializationError: its arguments cannot be pickled.
        """
        if job.code is None or not job.request.dependencies or not self._pack:
            return False
        group = chains.group_for(job, self._packer.most(job.code))
        if group is None or self._annotations(job) or self._annotations(group[0]):
            return False
        job.payload = self._graphs.pickle_link(job, group[-1])
        if job.payload is None:
            return False
        job.after = group[-1].task_id
        chains.join(job, group)
        return True
