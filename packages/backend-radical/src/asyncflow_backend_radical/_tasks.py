"""The tasks that the backend holds: what was submitted, what runs, what came of it."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radical.asyncflow.backend import (
    Command,
    ExecutableResult,
    Report,
    Resources,
    TaskRequest,
    TaskState,
)
from radical.asyncflow.errors import ConfigurationError, TaskError
from radical.asyncflow.model import TaskKind

from ._bag import Bag, Shape
from ._pilot import PilotPlan
from ._script import exit_code, script
from ._submission import describe, file_stem, read_text

__all__ = ["Tasks"]

_LOOK = 0.005  # seconds between two looks for results while some come
_LONGEST_LOOK = 0.05
_FINAL = ("DONE", "FAILED", "CANCELED", "REFUSED")


@dataclass(slots=True)
class _Executable:
    request: TaskRequest
    uid: str
    stdout: Path
    stderr: Path
    stdin: Path | None
    running: bool = False
    cancelled: bool = False


class Tasks:
    """Every method may be called from any thread.

    Attributes:
        folder: what the program and the nodes exchange.
    """

    def __init__(
        self,
        folder: Path,
        *,
        capture: Path,
        send: Callable[..., None],
        report: Callable[[Iterable[Report]], None],
        plan: PilotPlan,
    ) -> None:
        self.folder = folder / "exchange"
        for part in ("streams", "withdrawn", "functions"):
            (self.folder / part).mkdir(parents=True, mode=0o700)
        self._capture = capture
        self._send = send
        self._report = report
        self._plan = plan
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._executables: dict[str, _Executable] = {}
        self._uids: dict[int, str] = {}
        self._bags: dict[Any, Bag] = {}
        self._bag_of: dict[str, Bag] = {}  # by worker
        self._looker: threading.Thread | None = None
        self._closed = False
        self._hurried = False

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        descriptions: list[dict[str, Any]] = []
        functions: dict[Any, list[TaskRequest]] = {}
        with self._lock:
            for request in batch:
                if request.spec.kind is TaskKind.FUNCTION:
                    functions.setdefault(_key(request), []).append(request)
                else:
                    descriptions.append(self._describe(request))
            if descriptions:
                self._send("submit", descriptions)
            failed = [
                report
                for key, requests in functions.items()
                for report in self._bag(key, requests[0]).add(requests)
            ]
            if functions:
                self._look()
        if failed:
            self._report(failed)

    def _describe(self, request: TaskRequest) -> dict[str, Any]:
        command, spec = request.command, request.spec
        assert isinstance(command, Command)
        uid = f"task.{request.task_id}.{request.attempt}.{secrets.token_hex(2)}"
        streams = self.folder / "streams"
        where, stem = streams, uid
        if spec.capture_stdio:
            where, stem = self._capture, f"{file_stem(spec.name)}.{secrets.token_hex(6)}"
        stdin = None
        if command.stdin is not None:
            data = command.stdin.encode() if isinstance(command.stdin, str) else command.stdin
            stdin = streams / f"{uid}.stdin"
            stdin.write_bytes(data)
        task = _Executable(request, uid, where / f"{stem}.stdout", where / f"{stem}.stderr", stdin)
        self._executables[uid] = task
        self._uids[request.task_id] = uid
        body = script(
            command,
            stdin=stdin,
            stdout=task.stdout,
            stderr=task.stderr,
            withdrawn=self.folder / "withdrawn" / uid,
        )
        return describe(uid, spec.name, body, spec.resources, spec.description)

    def _bag(self, key: Any, request: TaskRequest) -> Bag:
        bag = self._bags.get(key)
        if bag is None:
            spec = request.spec
            number = len(self._bags)
            fits = [self._plan.cores // spec.resources.cores]
            if spec.resources.gpus:
                fits.append(self._plan.gpus // spec.resources.gpus)
            bag = self._bags[key] = Bag(
                self.folder / "functions" / str(number),
                Shape(spec.resources, tuple(spec.description.items())),
                number=number,
                most=max(1, min(fits)),
                launch=self._launch,
                cancel=lambda names: self._send("cancel", names),
            )
        return bag

    def _launch(self, name: str, shape: Shape, words: tuple[str, ...]) -> None:
        bag = next(bag for bag in self._bags.values() if name in bag.workers)
        self._bag_of[name] = bag
        streams = self.folder / "streams"
        body = script(
            Command(words),
            stdin=None,
            stdout=streams / f"{name}.stdout",
            stderr=streams / f"{name}.stderr",
            withdrawn=self.folder / "withdrawn" / name,
        )
        more = dict(shape.description)
        self._send("submit", [describe(name, name, body, shape.resources, more)])

    def cancel(self, task_ids: Collection[int]) -> None:
        reports: list[Report] = []
        uids: list[str] = []
        with self._lock:
            for task_id in task_ids:
                uid = self._uids.get(task_id)
                if uid is not None:
                    task = self._executables[uid]
                    if task.cancelled:
                        continue
                    task.cancelled = True
                    # Whatever RADICAL-Pilot does with the request: it will not begin.
                    (self.folder / "withdrawn" / uid).touch()
                    uids.append(uid)
                    if not task.running:
                        ids = task.request.task_id, task.request.attempt
                        reports.append(Report(*ids, TaskState.CANCELLED))
                        del self._uids[task_id]
                    continue
                for bag in self._bags.values():
                    taken = bag.cancel(task_id)
                    if taken is not None:
                        reports.append(taken)
            if uids:
                self._send("cancel", uids)
            self._changed.notify_all()
        if reports:
            self._report(reports)

    def cancel_all(self) -> None:
        """Cancel whatever has not ended, and let nobody `wait` for it."""
        with self._lock:
            self._hurried = True
            ids = [*self._uids]
            ids += [task_id for bag in self._bags.values() for task_id in bag.task_ids()]
        self.cancel(ids)

    def states(self, rows: Sequence[tuple[str, str, int | None, str]]) -> None:
        """What RADICAL-Pilot says."""
        reports: list[Report] = []
        ended: list[tuple[_Executable, str, int | None, str]] = []
        with self._lock:
            for uid, state, code, detail in rows:
                bag = self._bag_of.get(uid)
                task = self._executables.get(uid)
                if bag is not None:
                    if state in _FINAL:
                        del self._bag_of[uid]
                        if state == "REFUSED" or (code is None and state == "FAILED"):
                            reports += bag.refused(uid, detail)
                        else:
                            reports += bag.ended(uid, code)
                elif task is None:
                    continue
                elif state in _FINAL:
                    ended.append((task, state, code, detail))
                elif not task.cancelled:
                    task.running = True
                    ids = task.request.task_id, task.request.attempt
                    reports.append(Report(*ids, TaskState.RUNNING))
        reports += [self._outcome(*row) for row in ended if self._uids_match(row[0])]
        with self._lock:
            for task, *_ in ended:
                self._drop(task)
            self._changed.notify_all()
        if reports:
            self._report(reports)

    def _uids_match(self, task: _Executable) -> bool:
        """Whether *task* still has to be reported: it was not cancelled in the queue."""
        return self._uids.get(task.request.task_id) == task.uid

    def _outcome(self, task: _Executable, state: str, code: int | None, detail: str) -> Report:
        ids = task.request.task_id, task.request.attempt
        if task.cancelled:
            return Report(*ids, TaskState.CANCELLED)
        if state == "REFUSED":
            return Report(*ids, TaskState.FAILED, ConfigurationError(detail))
        if code is None:
            reason = detail or f"RADICAL-Pilot ended it in state {state}"
            name = task.request.spec.name
            return Report(*ids, TaskState.FAILED, TaskError(f"task {name!r} did not run: {reason}"))
        if task.request.spec.capture_stdio:
            for path in (task.stdout, task.stderr):
                path.touch()
            result = ExecutableResult(exit_code(code), str(task.stdout), str(task.stderr))
        else:
            result = ExecutableResult(
                exit_code(code),
                read_text(task.stdout, self._capture),
                read_text(task.stderr, self._capture),
            )
        return Report(*ids, TaskState.DONE, result)

    def _drop(self, task: _Executable) -> None:
        self._executables.pop(task.uid, None)
        if self._uids.get(task.request.task_id) == task.uid:
            del self._uids[task.request.task_id]
        # A mark of withdrawal stays: RADICAL-Pilot may start what it has called CANCELED.
        files: list[Path] = []
        if not task.request.spec.capture_stdio:
            files += [task.stdout, task.stderr]
        if task.stdin is not None:
            files.append(task.stdin)
        for file in files:
            file.unlink(missing_ok=True)

    def _look(self) -> None:
        """See to it that somebody looks for results of functions."""
        if self._looker is None:
            self._looker = threading.Thread(
                target=self._keep_looking, name="asyncflow-radical", daemon=True
            )
            self._looker.start()
        self._changed.notify_all()

    def _keep_looking(self) -> None:
        pause = _LOOK
        while True:
            with self._lock:
                while not self._closed and not any(bag.outstanding for bag in self._bags.values()):
                    self._changed.wait()
                    pause = _LOOK
                if self._closed:
                    return
                reports = [
                    report
                    for bag in self._bags.values()
                    if bag.outstanding
                    for report in bag.look()
                ]
                if not any(bag.outstanding for bag in self._bags.values()):
                    self._changed.notify_all()
            if reports:
                self._report(reports)
                pause = _LOOK
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_LOOK)

    def wait(self) -> None:
        """Until every task has ended, or `cancel_all` is called."""
        with self._lock:
            while not (self._closed or self._hurried) and (
                self._uids or any(bag.outstanding for bag in self._bags.values())
            ):
                self._changed.wait()

    def lost(self) -> None:
        """The pilot is gone: there is nothing to wait for any more."""
        self.close()
        with self._lock:
            self._executables.clear()
            self._uids.clear()

    def close(self) -> None:
        """Stop looking for results; what still comes from the host is reported."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            looker, self._looker = self._looker, None
        if looker is not None and looker is not threading.current_thread():
            looker.join()

    def give_up(self) -> None:
        """Report as cancelled what has ended with the pilot, without saying so."""
        with self._lock:
            requests = [
                task.request for task in self._executables.values() if self._uids_match(task)
            ]
            requests += [request for bag in self._bags.values() for request in bag.clear()]
            self._executables.clear()
            self._uids.clear()
        if requests:
            self._report(
                [Report(each.task_id, each.attempt, TaskState.CANCELLED) for each in requests]
            )


def _key(request: TaskRequest) -> tuple[Resources, str]:
    spec = request.spec
    return spec.resources, repr(sorted(spec.description.items(), key=lambda item: item[0]))
