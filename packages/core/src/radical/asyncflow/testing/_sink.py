"""A sink that records what a backend reports, and where that breaks the contract."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from .._public import public
from ..backend import AnyReport, Report, Serving, TaskId, TaskRequest, TaskTrace
from ..model import TaskState

__all__ = ["RecordingSink"]

_Key = tuple[TaskId, int]


@public("radical.asyncflow.testing")
class RecordingSink:
    """A stand-in for the engine, where a test drives a backend by hand.

    Make it in the running loop.  Like the engine it keeps the first terminal report of an
    attempt.  Unlike the engine it objects to whatever a correct backend never does: that
    is added to `violations`.

    Attributes:
        reports: every report, in the order of arrival.
        outputs: what running tasks put out, as ``{(task_id, attempt): text}``.
        traces: what functions printed, logged and used, as ``{(task_id, attempt): trace}``.
        violations: what broke the contract, in words.
        served: what came of services, with the task and the attempt, in the order of arrival.
        loss: the error given to `lost`, or None.
        unbegun: the ids of tasks that `lost` was given as not begun.
    """

    def __init__(self, uid: str = "recording", work_dir: Path | None = None) -> None:
        self._uid = uid
        self._work_dir = work_dir
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._expected: dict[_Key, TaskRequest] = {}
        self._terminal: dict[_Key, Report] = {}
        self._arrived = asyncio.Event()
        self.reports: list[Report] = []
        self.outputs: dict[tuple[TaskId, int], str] = {}
        self.traces: dict[tuple[TaskId, int], TaskTrace] = {}
        self.violations: list[str] = []
        self.served: list[tuple[TaskId, int, Serving]] = []
        self.loss: BaseException | None = None
        self.unbegun: frozenset[TaskId] = frozenset()

    def expect(self, requests: Iterable[TaskRequest]) -> None:
        """Say what is about to be submitted; a report about anything else is a violation."""
        with self._lock:
            for request in requests:
                self._expected[request.task_id, request.attempt] = request

    def outcome(self, request: TaskRequest) -> Report | None:
        """Return the first terminal report of this attempt, or None."""
        return self._terminal.get((request.task_id, request.attempt))

    def has_begun(self, request: TaskRequest) -> bool:
        """Return whether a RUNNING report, or a terminal one, came for this attempt."""
        key = (request.task_id, request.attempt)
        return any((report.task_id, report.attempt) == key for report in self.reports)

    async def outcomes(
        self, requests: Sequence[TaskRequest], deadline: float = 30.0
    ) -> list[Report]:
        """Wait for the terminal reports of *requests*, and return them in that order.

        Raises:
            TimeoutError: after *deadline* seconds; it names the tasks without a report.
        """
        await self.until(lambda: all(map(self.outcome, requests)), deadline, requests)
        return [self._terminal[request.task_id, request.attempt] for request in requests]

    async def until(
        self,
        condition: Callable[[], bool],
        deadline: float = 30.0,
        about: Sequence[TaskRequest] = (),
    ) -> None:
        """Wait for a report that makes *condition* true.

        Raises:
            TimeoutError: after *deadline* seconds.
        """
        try:
            async with asyncio.timeout(deadline):
                while not condition():
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            unfinished = [request for request in about if self.outcome(request) is None]
            raise TimeoutError(
                f"not within {deadline:g} s: {len(unfinished)} of {len(about)} tasks have no "
                f"terminal report, first of all {unfinished[:3]}; the last reports were "
                f"{self.reports[-5:]}"
            ) from None

    # What the backend calls, from any thread.

    @property
    def uid(self) -> str:
        return self._uid

    def work_dir(self) -> Path:
        with self._lock:
            if self._work_dir is None:
                self._work_dir = Path(tempfile.mkdtemp(prefix="asyncflow-"))
            return self._work_dir

    @property
    def watched(self) -> bool:
        return True

    @property
    def keeps_output(self) -> bool:
        return True

    @property
    def keeps_usage(self) -> bool:
        return True

    def report(self, reports: Iterable[AnyReport]) -> None:
        with self._lock:
            for report in reports:
                self._take(Report(*report))
        self._loop.call_soon_threadsafe(self._arrived.set)

    def running(self, task_id: TaskId, attempt: int, worker: str | None = None) -> None:
        self.report([Report(task_id, attempt, TaskState.RUNNING, worker)])

    def done(self, task_id: TaskId, attempt: int, value: object) -> None:
        self.report([Report(task_id, attempt, TaskState.DONE, value)])

    def failed(self, task_id: TaskId, attempt: int, error: BaseException) -> None:
        self.report([Report(task_id, attempt, TaskState.FAILED, error)])

    def cancelled(self, task_id: TaskId, attempt: int) -> None:
        self.report([Report(task_id, attempt, TaskState.CANCELLED)])

    def serving(self, task_id: TaskId, attempt: int, serving: Serving) -> None:
        with self._lock:
            self.served.append((task_id, attempt, serving))
        self._loop.call_soon_threadsafe(self._arrived.set)

    def traced(self, task_id: TaskId, attempt: int, trace: TaskTrace) -> None:
        key = (task_id, attempt)
        with self._lock:
            self.traces[key] = trace
            if key not in self._expected:
                self.violations.append(f"a trace of a task that was never submitted: {key}")
            elif key in self._terminal:
                self.violations.append(f"a trace after the end: {self._terminal[key]}")

    def output(self, task_id: TaskId, attempt: int, text: str, offset: int = 0) -> None:
        key = (task_id, attempt)
        with self._lock:
            before = self.outputs.get(key, "") if offset else ""
            if key not in self._expected:
                self.violations.append(f"output of a task that was never submitted: {key}")
            elif key in self._terminal:
                self.violations.append(f"output after the end: {self._terminal[key]}")
            elif len(before) != offset:
                self.violations.append(
                    f"output of task {task_id} at {offset}, where {len(before)} characters came"
                )
            self.outputs[key] = before + text
        self._loop.call_soon_threadsafe(self._arrived.set)

    def lost(self, error: BaseException, unbegun: Collection[TaskId] = ()) -> None:
        self.loss = error
        self.unbegun = frozenset(unbegun)
        self._loop.call_soon_threadsafe(self._arrived.set)

    def _take(self, report: Report) -> None:
        key = (report.task_id, report.attempt)
        state = report.state
        self.reports.append(report)
        if key not in self._expected:
            self.violations.append(f"report about a task that was never submitted: {report}")
        elif key in self._terminal:
            self.violations.append(f"{report} after the end: {self._terminal[key]}")
        elif state is TaskState.FAILED and not isinstance(report.value, BaseException):
            self.violations.append(f"FAILED without an exception: {report}")
        elif state < TaskState.RUNNING:
            self.violations.append(f"not a state for a backend to report: {report}")
        if state >= TaskState.DONE:
            self._terminal.setdefault(key, report)
