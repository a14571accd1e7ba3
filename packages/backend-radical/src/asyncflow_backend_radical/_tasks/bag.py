"""Functions that wait for workers on the pilot, and their way back: the program's side."""

from __future__ import annotations

import itertools
import json
import pickle
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle  # type: ignore[import-untyped]
from radical.asyncflow.backend import Report, Resources, TaskRequest, TaskState
from radical.asyncflow.errors import SerializationError, TaskError, WorkerLostError
from radical.asyncflow.worker import Codes, by_value, unsendable

from .._worker.main import VALUE
from ..errors import PilotLostError
from .script import exit_code

__all__ = ["Bag", "Shape"]

_START = """
import json, sys
sys.path[:] = json.loads(open(sys.argv[1]).read())
from asyncflow_backend_radical._worker.main import main
main(sys.argv[2], sys.argv[3], float(sys.argv[4]))
"""
LINGER = 15.0
"""Seconds for which an idle worker holds its cores, unless they are wanted."""


class Shape(NamedTuple):
    """What workers of one bag have; a bag for each."""

    resources: Resources
    description: tuple[tuple[str, Any], ...]


class Bag:
    """The tasks of one shape; the backend's lock guards every method.

    Attributes:
        workers: names of those that were submitted and have not ended.
    """

    def __init__(
        self,
        folder: Path,
        shape: Shape,
        *,
        number: int,
        most: int,
        codes: Codes,
        launch: Callable[[str, Shape, tuple[str, ...]], None],
        cancel: Callable[[Sequence[str]], None],
    ) -> None:
        """Make the folder; *most* workers, which *launch* starts from (name, shape, command)."""
        self._home = folder
        self._shape = shape
        self._number = number
        self._most = most
        self._codes = codes
        self._launch = launch
        self._cancel = cancel
        self._numbers = itertools.count(1)
        self._waiting: dict[str, TaskRequest] = {}
        self._running: dict[str, TaskRequest] = {}
        self._where: dict[int, str] = {}
        self._claims: dict[str, str] = {}  # worker -> task's number
        self._doomed: set[str] = set()
        self.workers: set[str] = set()
        self._names = itertools.count(1)
        self._pilots = itertools.count()
        self._folder = self._make_folder()

    def _make_folder(self) -> Path:
        """One for each pilot: workers of a lost one find nothing more to do."""
        folder = self._home / str(next(self._pilots))
        for part in ("ready", "claimed", "results", "taken"):
            (folder / part).mkdir(parents=True, mode=0o700)
        return folder

    @property
    def outstanding(self) -> int:
        return len(self._waiting) + len(self._running)

    def task_ids(self) -> list[int]:
        """Of the tasks that have not ended."""
        return list(self._where)

    def add(self, requests: Sequence[TaskRequest]) -> list[Report]:
        """Put tasks in; the reports of those that cannot travel."""
        failed: list[Report] = []
        path = [entry for entry in sys.path if isinstance(entry, str)]
        (self._folder / "wanted").unlink(missing_ok=True)
        for request in requests:
            number = str(next(self._numbers))
            spec = request.spec
            try:
                code = self._codes.code_of(spec.function).pickled
                values = _dump_arguments(request)
            except SerializationError as error:
                failed.append(Report(request.task_id, request.attempt, TaskState.FAILED, error))
                continue
            ids = request.task_id, request.attempt
            content = pickle.dumps((spec.name, *ids, path, code, values), 5)
            part = self._folder / "taken" / number
            part.write_bytes(content)
            part.rename(self._folder / "ready" / number)
            self._waiting[number] = request
            self._where[request.task_id] = number
        self.staff()
        return failed

    def cancel(self, task_id: int) -> Report | None:
        """Take it back, or end its worker; a report if that is all there is to do."""
        number = self._where.get(task_id)
        if number is None:
            return None
        source = self._folder / "ready" / number
        try:
            source.rename(self._folder / "taken" / number)
        except FileNotFoundError:
            self._doomed.add(number)
            self._end_doomed()
            return None
        (self._folder / "taken" / number).unlink()
        request = self._forget(number)
        return Report(request.task_id, request.attempt, TaskState.CANCELLED)

    def look(self) -> list[Report]:
        """What has begun and what has ended since the last time."""
        reports: list[Report] = []
        for file in (self._folder / "claimed").iterdir():
            number, _, worker = file.name.partition("@")
            if number in self._waiting:
                request = self._running[number] = self._waiting.pop(number)
                self._claims[worker] = number
                reports.append(Report(request.task_id, request.attempt, TaskState.RUNNING, worker))
        if self._doomed:
            self._end_doomed()
        for file in (self._folder / "results").iterdir():
            number = file.name
            if number not in self._running and number not in self._waiting:
                if file.suffix != ".part":  # it came too late; nobody waits for it
                    file.unlink()
                continue
            content = file.read_bytes()
            file.unlink()
            request = self._forget(number)
            reports.append(_outcome(request, content))
        return reports

    def ended(self, worker: str, code: int | None) -> list[Report]:
        """A worker is gone, for whatever reason; the reports of what it had."""
        reports = self.look()
        self.workers.discard(worker)
        for file in (self._folder / "claimed").glob(f"*@{worker}"):
            number = file.name.partition("@")[0]
            file.unlink()
            if number not in self._running and number not in self._waiting:
                continue
            doomed = number in self._doomed
            request = self._forget(number)
            ids = request.task_id, request.attempt
            if doomed:
                reports.append(Report(*ids, TaskState.CANCELLED))
                continue
            status = exit_code(code)
            error = WorkerLostError(
                request.spec.name,
                worker,
                signal=-status if code is not None and status < 0 else None,
                attempt=request.attempt,
                detail="" if status < 0 else f"it exited with code {status}",
            )
            reports.append(Report(*ids, TaskState.FAILED, error))
        self.staff()
        return reports

    @property
    def cores(self) -> int:
        """What its workers hold."""
        return len(self.workers) * self._shape.resources.cores

    def make_room(self) -> None:
        """Somebody wants the cores of workers that have nothing to do."""
        if len(self.workers) > self.outstanding:
            (self._folder / "wanted").touch()

    def lost(self, error: PilotLostError) -> list[Report]:
        """The workers are gone with their pilot: so is what they ran, but not what waits."""
        reports = self.look()
        old, self._folder = self._folder, self._make_folder()
        for number in list(self._waiting):
            with suppress(FileNotFoundError):  # a worker took it just now
                (old / "ready" / number).rename(self._folder / "ready" / number)
                continue
            self._running[number] = self._waiting.pop(number)
        for number in list(self._running):
            doomed = number in self._doomed
            request = self._forget(number)
            ids = request.task_id, request.attempt
            if doomed:
                reports.append(Report(*ids, TaskState.CANCELLED))
            else:
                reports.append(Report(*ids, TaskState.FAILED, error))
        self.workers.clear()
        self._claims.clear()
        return reports

    def refused(self, worker: str, reason: str) -> list[Report]:
        """RADICAL-Pilot could not run a worker of this shape: nothing here can run."""
        self.workers.discard(worker)
        return [
            Report(
                request.task_id,
                request.attempt,
                TaskState.FAILED,
                TaskError(
                    f"task {request.spec.name!r} did not run, for want of a worker: {reason}"
                ),
            )
            for request in self.clear()
        ]

    def clear(self) -> list[TaskRequest]:
        """Forget every task; what there was."""
        requests = [*self._waiting.values(), *self._running.values()]
        for number in self._waiting:
            (self._folder / "ready" / number).unlink(missing_ok=True)
        self._waiting.clear()
        self._running.clear()
        self._where.clear()
        self._doomed.clear()
        return requests

    def _end_doomed(self) -> None:
        for worker, number in list(self._claims.items()):
            if number in self._doomed and worker in self.workers:
                self._cancel([worker])
                del self._claims[worker]

    def _forget(self, number: str) -> TaskRequest:
        request = self._waiting.pop(number, None) or self._running.pop(number)
        if self._where.get(request.task_id) == number:
            del self._where[request.task_id]
        self._doomed.discard(number)
        return request

    def staff(self) -> None:
        """Enough workers for what there is to do."""
        wanted = min(self.outstanding, self._most)
        file = self._home / "path.json"
        while len(self.workers) < wanted:
            if not file.exists():
                path = [entry for entry in sys.path if isinstance(entry, str)]
                file.write_text(json.dumps(path))
            name = f"worker.{self._number}.{next(self._names):04d}"
            words = [sys.executable, "-I", "-c", _START, str(file), str(self._folder), name]
            words.append(str(LINGER))
            self.workers.add(name)
            self._launch(name, self._shape, tuple(words))


def _outcome(request: TaskRequest, content: bytes) -> Report:
    ids = request.task_id, request.attempt
    kind, pickled = content[0], memoryview(content)[1:]
    if kind == VALUE:
        try:
            return Report(*ids, TaskState.DONE, pickle.loads(pickled))
        except BaseException as exc:  # foreign code
            return Report(*ids, TaskState.FAILED, unsendable("result", exc))
    return Report(*ids, TaskState.FAILED, pickle.loads(pickled).rebuild())


def _dump_arguments(request: TaskRequest) -> bytes:
    try:
        with by_value(request.spec.function):
            values: bytes = cloudpickle.dumps((request.args, dict(request.kwargs)), protocol=5)
    except BaseException as exc:  # foreign code
        raise unsendable("arguments", exc) from exc
    return values
