"""The backend: one thread submits jobs, looks for their answers, and asks which have ended."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Sequence
from pathlib import Path

from radical.asyncflow.backend import (
    ExecutionBackend,
    Report,
    ReportSink,
    TaskId,
    TaskRequest,
    TaskState,
)
from radical.asyncflow.errors import BackendError, BackendLostError, WorkerLostError
from radical.asyncflow.worker import Clocks, Raised, open_answer

from .capabilities import CAPABILITIES
from .config import SkeletonConfig
from .jobs import BatchSystem, Job

POLL_S = 0.005  # between two looks at the thread that is to end
SHELL_BASE = 128  # a shell adds the number of the signal that ended a program

_log = logging.getLogger(__name__)


class SkeletonBackend(ExecutionBackend):
    """Runs functions and commands as jobs of a batch system."""

    capabilities = CAPABILITIES

    def __init__(
        self,
        settings: SkeletonConfig,
        *,
        name: str = "skeleton",
    ) -> None:
        self.name = name
        self._settings = settings
        self._system = BatchSystem(settings)
        self._news = threading.Condition()  # guards what follows
        # The oldest first, which a plain dict is slow to find once many have left it.
        self._waiting: OrderedDict[TaskId, TaskRequest] = OrderedDict()
        self._jobs: dict[tuple[TaskId, int], Job] = {}  # by task and attempt
        self._to_cancel: list[Job] = []
        self._lost: BackendLostError | None = None
        # Of the thread alone:
        self._clocks = Clocks()
        self._leaving: list[Job] = []  # whose tasks have ended
        self._asked = 0.0
        self._failing = 0.0  # since when the batch system does not answer; 0 if it does
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        self._system.check()
        self._sink = sink  # of our own: the thread reports after the shutdown, too
        self._thread.start()

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        with self._news:
            if self._lost is not None:
                raise self._lost
            for request in batch:
                self._waiting[request.task_id] = request
            self._news.notify()

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        wanted = frozenset(task_ids)
        with self._news:
            for task_id in wanted:
                if request := self._waiting.pop(task_id, None):
                    self._sink.cancelled(task_id, request.attempt)
            for (task_id, _), job in self._jobs.items():
                if task_id in wanted and job.wanted:
                    job.wanted = False
                    self._to_cancel.append(job)
            self._news.notify()

    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)
        with self._news:
            self._news.notify()
            held = {*self._waiting, *(task_id for task_id, _ in self._jobs)}
        if cancel:
            self.cancel(held)
        deadline = time.monotonic() + self._settings.grace if cancel else float("inf")
        while self._thread.is_alive() and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S)

    # Below this line: what happens in the thread.

    def _work(self) -> None:
        folder: Path | None = None
        while self._wait():
            if folder is None:
                folder = self._sink.work_dir() / self.name
                folder.mkdir(exist_ok=True)
            try:
                self._submit_what_fits(folder)
                self._cancel_what_is_not_wanted()
                self._look(folder)
                self._ask()
            except Exception as error:
                self._lose(error)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _wait(self) -> bool:
        """Wait until there is something to do; return False at the end."""
        with self._news:
            while not (self._waiting or self._jobs or self._leaving):
                if self.is_shut_down:
                    return False
                self._news.wait()
            if self._jobs or self._leaving:
                self._news.wait(self._settings.poll)
            if self.is_shut_down and not (self._waiting or self._jobs):
                # What commands left behind ends with the backend.
                self._to_cancel += [job for job in self._leaving if job.wanted]
                for job in self._leaving:
                    job.wanted = False
            return True

    def _submit_what_fits(self, folder: Path) -> None:
        while (request := self._next()) is not None:
            try:
                job = self._system.submit(request, folder)
            except Exception as error:
                with self._news:
                    del self._jobs[request.task_id, request.attempt]
                self._sink.failed(request.task_id, request.attempt, error)
                continue
            with self._news:
                before = self._jobs[job.key]
                self._jobs[job.key] = job
                job.wanted = before.wanted
                self._to_cancel = [job if one is before else one for one in self._to_cancel]

    def _next(self) -> TaskRequest | None:
        """Take the task that has waited longest, if there is room for it."""
        limit = self._settings.max_cores
        with self._news:
            if not self._waiting:
                return None
            request = next(iter(self._waiting.values()))
            taken = sum(job.request.spec.resources.cores for job in self._jobs.values())
            if limit and self._jobs and taken + request.spec.resources.cores > limit:
                return None
            del self._waiting[request.task_id]
            self._jobs[request.task_id, request.attempt] = Job(request, Path())
            return request

    def _cancel_what_is_not_wanted(self) -> None:
        with self._news:
            jobs, self._to_cancel = self._to_cancel, []
        if not jobs:
            return
        try:
            self._system.cancel([job.id for job in jobs])
        except BackendError as error:
            with self._news:
                self._to_cancel += jobs
            self._bear(error)
        self._asked = 0.0  # so that their end is seen soon

    def _look(self, folder: Path) -> None:
        """Report the tasks whose jobs have left a file."""
        there = {path.name for path in folder.iterdir()}
        for job in list(self._jobs.values()):
            if not job.has_begun and f"{job.stem.name}.began" in there:
                self._report_begin(job)
            # Of a task that was cancelled, all processes are gone only when the job is.
            if job.wanted and not there.isdisjoint(
                {f"{job.stem.name}.answer", f"{job.stem.name}.code"}
            ):
                self._report_end(job)
        for job in list(self._leaving):
            if f"{job.stem.name}.code" in there:  # the last thing that a script writes
                self._forget(job)

    def _ask(self) -> None:
        """Ask which jobs are left, all in one call."""
        now = time.monotonic()
        jobs = [*self._jobs.values(), *self._leaving]
        if not jobs or now < self._asked + self._settings.ask:
            return
        try:
            living = self._system.living([job.id for job in jobs])
        except BackendError as error:
            self._bear(error)
        else:
            self._failing = 0.0
            for job in jobs:
                if job.id not in living:
                    if job.key in self._jobs:
                        self._report_end(job)
                    self._forget(job)
        self._asked = time.monotonic()

    def _bear(self, error: BackendError) -> None:
        """Bear that the batch system does not answer, unless it has failed for too long.

        Raises:
            BackendError: it has.
        """
        now = time.monotonic()
        self._failing = self._failing or now
        if now > self._failing + self._settings.patience:
            raise error
        _log.warning("backend %s: %s; it tries again", self.name, error)
        time.sleep(self._settings.ask)

    def _forget(self, job: Job) -> None:
        self._leaving.remove(job)
        job.remove_files()

    def _report_begin(self, job: Job) -> None:
        job.has_begun = True
        if began := job.read(".began"):
            node, (clock, moment) = began
            # The task's time, and not that of this look.
            time = moment + self._clocks.offset(clock, moment)
            self._sink.report([Report(*job.key, TaskState.RUNNING, node, time)])

    def _report_end(self, job: Job) -> None:
        """Report the end of a task; its job is leaving from now on."""
        left, code = job.read(".answer"), job.exit_code
        with self._news:
            del self._jobs[job.key]
            self._to_cancel = [one for one in self._to_cancel if one is not job]
        self._leaving.append(job)
        if not job.has_begun:
            self._report_begin(job)
        if not job.wanted:
            self._sink.cancelled(*job.key)
            return
        if left is None:
            self._sink.failed(*job.key, _death(job, code))
            return
        answer, (clock, moment) = left
        time = moment + self._clocks.offset(clock, moment)
        value = open_answer(*answer)
        state = TaskState.DONE
        if isinstance(value, Raised):
            state, value = TaskState.FAILED, value.error
        self._sink.report([Report(*job.key, state, value, time)])

    def _lose(self, error: Exception) -> None:
        """Give everything up: the batch system is gone."""
        lost = BackendLostError(f"backend {self.name!r}: {error}")
        lost.__cause__ = error
        with self._news:
            self._lost = lost
            unbegun = list(self._waiting)
            self._waiting.clear()
            self._jobs.clear()
            self._to_cancel.clear()
        self._leaving.clear()
        self._sink.lost(lost, unbegun)


def _death(job: Job, code: int) -> WorkerLostError:
    """Return the error of a task whose job ended without an answer."""
    return WorkerLostError(
        job.request.spec.name,
        f"job {job.id}",
        signal=code - SHELL_BASE if code > SHELL_BASE else None,
        attempt=job.request.attempt,
    )
