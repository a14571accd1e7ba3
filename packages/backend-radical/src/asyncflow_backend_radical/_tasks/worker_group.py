"""Workers of one shape, and the functions that wait for them or run on them."""

from __future__ import annotations

import itertools
import json
import pickle
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from radical.asyncflow.backend import Report, Resources, TaskRequest, TaskState
from radical.asyncflow.errors import BackendError, SerializationError, TaskError, WorkerLostError
from radical.asyncflow.worker import (
    Clocks,
    Codes,
    Raised,
    dump_arguments,
    explain_death,
    import_path,
    open_answer,
)

from .._worker.exchange import Answer, Exchange
from .script import signed_exit_code
from .traces import Traces

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait

__all__ = ["WorkerGroup", "WorkerShape"]

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(open(sys.argv[1]).read())
from asyncflow_backend_radical._worker.main import main
main(sys.argv[2], sys.argv[3], float(sys.argv[4]))
"""
IDLE_LIMIT_S = 15.0
"""The time after which an idle worker ends; earlier, if other tasks want its cores."""


class WorkerShape(NamedTuple):
    """The resources and the description of every worker in a group.

    Attributes:
        description: the user's own ``task_description``, as items.
    """

    resources: Resources
    description: tuple[tuple[str, Any], ...]


class WorkerGroup:
    """The functions that need workers of one shape, and these workers.

    Not safe across threads: the lock of `Tasks` guards every method.

    Attributes:
        workers: the names of the workers that were submitted and have not ended.
    """

    def __init__(
        self,
        folder: Path,
        shape: WorkerShape,
        *,
        number: int,
        most_workers: int,
        codes: Codes,
        traces: Traces,
        start_worker: Callable[[WorkerGroup, str, tuple[str, ...]], None],
        cancel_workers: Callable[[Sequence[str]], None],
    ) -> None:
        """Make the folders of a group without functions.

        Args:
            folder: what the group and its workers share.
            number: the group's own, for the names of its workers.
            start_worker: called with the group, a worker's name and its command.
        """
        self.shape = shape
        self.workers: set[str] = set()
        self._folder = folder
        self._number = number
        self._most_workers = most_workers
        self._codes = codes
        self._traces = traces
        self._start_worker = start_worker
        self._cancel_workers = cancel_workers
        self._task_numbers = itertools.count(1)
        self._worker_numbers = itertools.count(1)
        self._pilot_numbers = itertools.count()
        self._waiting: dict[str, TaskRequest] = {}  # by number
        self._running: dict[str, TaskRequest] = {}
        self._cancelled: set[str] = set()
        self._number_of: dict[int, str] = {}  # by task id
        self._number_on: dict[str, str] = {}  # by worker
        self._clocks = Clocks()
        self._exchange = self._make_exchange()

    def _make_exchange(self) -> Exchange:
        """Make the exchange for the next pilot; workers of a lost pilot then find nothing to do."""
        exchange = Exchange(self._folder / str(next(self._pilot_numbers)))
        exchange.create()
        return exchange

    @property
    def unfinished(self) -> int:
        """The number of functions that wait or run."""
        return len(self._waiting) + len(self._running)

    @property
    def cores(self) -> int:
        """The number of cores that the workers hold."""
        return len(self.workers) * self.shape.resources.cores

    def task_ids(self) -> list[int]:
        """Return the ids of the functions that wait or run."""
        return list(self._number_of)

    def add(self, requests: Sequence[TaskRequest]) -> list[Report]:
        """Let *requests* wait for a worker; return the reports of those that cannot travel."""
        failed: list[Report] = []
        path = import_path()
        self._exchange.cores_wanted.unlink(missing_ok=True)
        for request in requests:
            spec = request.spec
            try:
                code = self._codes.code_of(spec.function).pickled
                arguments = dump_arguments(spec.function, request.args, request.kwargs)
            except SerializationError as error:
                failed.append(_report(request, TaskState.FAILED, error))
                continue
            task = (
                *(spec.name, request.task_id, request.attempt),
                *(path, code, arguments, tuple(self._traces.wanted)),
            )
            number = str(next(self._task_numbers))
            staged = self._exchange.staging / number
            staged.write_bytes(pickle.dumps(task, 5))
            staged.rename(self._exchange.ready / number)
            self._waiting[number] = request
            self._number_of[request.task_id] = number
        self.start_workers()
        return failed

    def waits(self, task_ids: Collection[int], backend: str) -> dict[int, Wait]:
        """Return what those of the tasks wait for that have not begun."""
        from .waits import wait_for_worker  # here, because most programs never ask

        running = [request.task_id for request in self._running.values()]
        return {
            request.task_id: wait_for_worker(
                running, len(self.workers), self._most_workers, ahead, backend
            )
            for ahead, request in enumerate(self._waiting.values())
            if request.task_id in task_ids
        }

    def start_workers(self) -> None:
        """Start as many workers as the functions need, up to the most."""
        wanted = min(self.unfinished, self._most_workers)
        path_file = self._folder / "path.json"
        while len(self.workers) < wanted:
            if not path_file.exists():
                path_file.write_text(json.dumps(import_path()))
            name = f"worker.{self._number}.{next(self._worker_numbers):04d}"
            words = [sys.executable, "-I", "-c", _PROGRAM, str(path_file)]
            words += [str(self._exchange.folder), name, str(IDLE_LIMIT_S)]
            self.workers.add(name)
            self._start_worker(self, name, tuple(words))

    def free_cores(self) -> None:
        """Make idle workers give their cores back."""
        if len(self.workers) > self.unfinished:
            self._exchange.cores_wanted.touch()

    def cancel(self, task_id: int) -> Report | None:
        """Take a waiting function back and return its report; end the worker of a running one."""
        number = self._number_of.get(task_id)
        if number is None:
            return None
        staged = self._exchange.staging / number
        try:
            (self._exchange.ready / number).rename(staged)
        except FileNotFoundError:  # a worker has it
            self._cancelled.add(number)
            self._end_workers_of_cancelled()
            return None
        staged.unlink()
        return _report(self._remove(number), TaskState.CANCELLED)

    def _end_workers_of_cancelled(self) -> None:
        for worker, number in list(self._number_on.items()):
            if number in self._cancelled and worker in self.workers:
                self._cancel_workers([worker])
                del self._number_on[worker]

    def collect(self) -> list[Report]:
        """Return the reports of what has begun and ended since the last call."""
        reports: list[Report] = []
        for number, worker, _ in self._exchange.claims():
            if number in self._waiting:
                request = self._running[number] = self._waiting.pop(number)
                self._number_on[worker] = number
                reports.append(_report(request, TaskState.RUNNING, worker))
        if self._cancelled:
            self._end_workers_of_cancelled()
        for file in self._exchange.results.iterdir():
            number = file.name
            if number in self._running or number in self._waiting:
                answer = Answer.load(file.read_bytes())
                file.unlink()
                reports += self._outcome(self._remove(number), answer)
            elif file.suffix != ".part":  # it came too late, and nobody waits for it
                file.unlink()
        return reports

    def end_worker(self, worker: str, code: int | None) -> list[Report]:
        """Take note that *worker* has ended; return the reports of what it did and ran."""
        reports = self.collect()
        self.workers.discard(worker)
        for number, owner, file in self._exchange.claims():
            if owner != worker:
                continue
            file.unlink()
            if number in self._running or number in self._waiting:
                is_cancelled = number in self._cancelled
                request = self._remove(number)
                if is_cancelled:
                    reports.append(_report(request, TaskState.CANCELLED))
                else:
                    error = _worker_lost(request, worker, code)
                    reports.append(_report(request, TaskState.FAILED, error))
        self.start_workers()
        return reports

    def refuse_worker(self, worker: str, reason: str) -> list[Report]:
        """Fail all functions, because RADICAL-Pilot cannot run a worker of this shape."""
        self.workers.discard(worker)
        reports = []
        for request in self.clear():
            error = TaskError(
                f"task {request.spec.name!r} did not run, because its worker did not: {reason}"
            )
            reports.append(_report(request, TaskState.FAILED, error))
        return reports

    def lose_pilot(self, error: BackendError) -> list[Report]:
        """Fail what ran on the lost pilot's workers; what waits is kept for the next pilot."""
        reports = self.collect()
        lost, self._exchange = self._exchange, self._make_exchange()
        for number in list(self._waiting):
            with suppress(FileNotFoundError):
                (lost.ready / number).rename(self._exchange.ready / number)
                continue
            self._running[number] = self._waiting.pop(number)  # a worker took it just now
        for number in list(self._running):
            is_cancelled = number in self._cancelled
            request = self._remove(number)
            if is_cancelled:
                reports.append(_report(request, TaskState.CANCELLED))
            else:
                reports.append(_report(request, TaskState.FAILED, error))
        self.workers.clear()
        self._number_on.clear()
        return reports

    def clear(self) -> list[TaskRequest]:
        """Drop all functions, and return them."""
        requests = [*self._waiting.values(), *self._running.values()]
        for number in self._waiting:
            (self._exchange.ready / number).unlink(missing_ok=True)
        self._waiting.clear()
        self._running.clear()
        self._number_of.clear()
        self._cancelled.clear()
        return requests

    def _outcome(self, request: TaskRequest, answer: Answer) -> list[Report]:
        """Return the reports of a function that has ended, with the times of its worker."""
        offset = self._clocks.offset(answer.clock, answer.sent)
        # It was seen to run some time after it began, or not at all.
        begun = answer.begun + offset
        reports = [_report(request, TaskState.RUNNING, answer.worker, begun)]
        self._traces.take(request, answer.trace)
        value = open_answer(answer.code, answer.body)
        ended = answer.ended + offset
        if isinstance(value, Raised):
            return [*reports, _report(request, TaskState.FAILED, value.error, ended)]
        return [*reports, _report(request, TaskState.DONE, value, ended)]

    def _remove(self, number: str) -> TaskRequest:
        request = self._waiting.pop(number, None) or self._running.pop(number)
        if self._number_of.get(request.task_id) == number:
            del self._number_of[request.task_id]
        self._cancelled.discard(number)
        return request


def _report(
    request: TaskRequest, state: TaskState, value: object = None, time: float | None = None
) -> Report:
    return Report(request.task_id, request.attempt, state, value, time)


def _worker_lost(request: TaskRequest, worker: str, code: int | None) -> WorkerLostError:
    status = signed_exit_code(code)
    death = explain_death(None, None if code is None else status)
    return WorkerLostError(
        request.spec.name,
        worker,
        signal=-status if code is not None and status < 0 else None,
        attempt=request.attempt,
        detail=death.evidence if status < 0 else f"it exited with code {status}",
        reason=death.reason,
    )
