"""The tasks that the backend holds: what was submitted, what runs, what came of it."""

from __future__ import annotations

import logging
import secrets
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from radical.asyncflow.backend import (
    Command,
    Report,
    Resources,
    TaskRequest,
    TaskState,
)
from radical.asyncflow.model import TaskKind
from radical.asyncflow.worker import Codes

from .._pilot.plan import PilotPlan
from ..errors import PilotLostError
from .bag import Bag, Shape
from .executable import Executable
from .script import begun, claim, exit_code, script
from .services import watch_of
from .submission import describe, file_stem

__all__ = ["Tasks"]

_LOOK = 0.005  # seconds between two looks for results while some come
_LONGEST_LOOK = 0.05
_DOUBT = 35.0  # seconds, of which RADICAL-Pilot takes 30 to see that a job is gone
_ENDED = (-signal.SIGTERM, -signal.SIGKILL)
_FINAL = ("DONE", "FAILED", "CANCELED", "REFUSED")

_Row = tuple[str, str, int | None, str]  # task, state, exit code, what went wrong

_log = logging.getLogger("radical.asyncflow")


class Tasks:
    """Every method may be called from any thread.

    Without a pilot, tasks wait here until `resume` gives them the next one.

    Attributes:
        folder: what the program and the nodes exchange.
    """

    def __init__(
        self,
        folder: Path,
        *,
        capture: Path,
        report: Callable[[Iterable[Report]], None],
        plan: PilotPlan,
    ) -> None:
        self.folder = folder / "exchange"
        for part in ("streams", "claims", "functions"):
            (self.folder / part).mkdir(parents=True, mode=0o700)
        self._capture = capture
        self._send: Callable[..., None] | None = None
        self._held: list[dict[str, Any]] = []
        self._report = report
        self._plan = plan
        self._codes = Codes()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._executables: dict[str, Executable] = {}
        self._uids: dict[int, str] = {}
        self._bags: dict[Any, Bag] = {}
        self._bag_of: dict[str, Bag] = {}  # by worker
        self._looker: threading.Thread | None = None
        self._doubts: list[threading.Timer] = []
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
                self._post(descriptions)
            failed = [
                report
                for key, requests in functions.items()
                for report in self._bag(key, requests[0]).add(requests)
            ]
            if functions:
                self._look()
            self._changed.notify_all()
        if failed:
            self._report(failed)

    def _post(self, descriptions: Sequence[dict[str, Any]]) -> None:
        bags = self._bags.values()
        tasks = self._executables.values()
        asked = sum(task.request.spec.resources.total_cores for task in tasks)
        if asked + sum(bag.cores for bag in bags) > self._plan.cores:
            for bag in bags:
                bag.make_room()
        if self._send is None:
            self._held += descriptions
        else:
            self._send("submit", descriptions)

    def _withdraw(self, uids: Sequence[str]) -> None:
        if self._send is not None:
            self._send("cancel", uids)

    def resume(self, send: Callable[..., None]) -> None:
        """There is a pilot, or will be: *send* reaches the process that holds it."""
        with self._lock:
            self._send = send
            held, self._held = self._held, []
            known = (self._executables, self._bag_of)
            if held := [each for each in held if any(each["uid"] in uids for uids in known)]:
                self._post(held)
            for bag in self._bags.values():
                bag.staff()

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
        claimed = self._claim_of(uid)
        streams_of = (where / f"{stem}.stdout", where / f"{stem}.stderr")
        task = Executable(request, uid, *streams_of, stdin, claimed)
        if spec.service:
            task.watch = watch_of(spec)
        self._executables[uid] = task
        self._uids[request.task_id] = uid
        body = script(
            command,
            ranks=spec.resources.ranks,
            stdin=stdin,
            stdout=task.stdout,
            stderr=task.stderr,
            claimed=claimed,
        )
        return describe(uid, spec.name, body, spec.resources, spec.description)

    def _claim_of(self, uid: str) -> Path:
        return self.folder / "claims" / uid

    def _bag(self, key: Any, request: TaskRequest) -> Bag:
        bag = self._bags.get(key)
        if bag is None:
            spec = request.spec
            number = len(self._bags)
            resources = self._plan.worker(spec.resources)
            bag = self._bags[key] = Bag(
                self.folder / "functions" / str(number),
                Shape(resources, tuple(spec.description.items())),
                number=number,
                most=self._plan.workers(resources),
                codes=self._codes,
                launch=self._launch,
                cancel=self._withdraw,
            )
        return bag

    def _launch(self, name: str, shape: Shape, words: tuple[str, ...]) -> None:
        bag = next(bag for bag in self._bags.values() if name in bag.workers)
        self._bag_of[name] = bag
        streams = self.folder / "streams"
        body = script(
            Command(words),
            ranks=1,
            stdin=None,
            stdout=streams / f"{name}.stdout",
            stderr=streams / f"{name}.stderr",
            claimed=self._claim_of(name),
        )
        more = dict(shape.description)
        self._post([describe(name, name, body, shape.resources, more)])

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
                    uids.append(uid)
                    if claim(self._claim_of(uid)):
                        reports.append(Report(*task.ids, TaskState.CANCELLED))
                        del self._uids[task_id]
                    continue
                for bag in self._bags.values():
                    taken = bag.cancel(task_id)
                    if taken is not None:
                        reports.append(taken)
            if uids:
                self._withdraw(uids)
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

    def states(self, rows: Sequence[_Row], *, sure: bool = False) -> None:
        """What RADICAL-Pilot says; *sure* if no lost pilot is the reason."""
        reports: list[Report] = []
        ended: list[tuple[Executable, str, int | None, str]] = []
        with self._lock:
            if not sure:
                rows = self._keep_doubtful(rows)
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
                    if code and not task.cancelled and not begun(task.claimed):
                        detail = f"exit code {code} before its command began: {detail}"
                        code = None
                    ended.append((task, state, code, detail))
                elif not task.cancelled:
                    task.running = True
                    reports.append(Report(*task.ids, TaskState.RUNNING))
                    if task.watch is not None:
                        self._look()
                    elif task.request.spec.service:
                        reports.append(self._up(task, ""))
        reports += [
            row[0].outcome(*row[1:], self._capture) for row in ended if self._uids_match(row[0])
        ]
        with self._lock:
            for task, state, code, _ in ended:
                if task.up and not (self._closed or self._hurried):
                    _log.warning("service %r ended: %s, exit code %s", task.name, state, code)
                self._drop(task)
            self._changed.notify_all()
        if reports:
            self._report(reports)

    def _keep_doubtful(self, rows: Sequence[_Row]) -> list[_Row]:
        """Let ends wait that the end of the pilot may explain; the others.

        A batch system that ends a job ends first what runs in it, and RADICAL-Pilot hears
        of the job itself only when it asks the next time.
        """
        doubtful = [row for row in rows if self._doubtful(*row[:3])]
        if not doubtful:
            return list(rows)
        timer = threading.Timer(_DOUBT, self.states, [doubtful], {"sure": True})
        timer.daemon = True
        self._doubts = [each for each in self._doubts if each.is_alive()]
        self._doubts.append(timer)
        timer.start()
        return [row for row in rows if row not in doubtful]

    def _doubtful(self, uid: str, state: str, code: int | None) -> bool:
        if state != "FAILED" or code is None or not self._plan.queued:
            return False
        if self._closed or self._hurried:
            return False
        task = self._executables.get(uid)
        if task is not None and task.cancelled:
            return False
        return exit_code(code) in _ENDED or not begun(self._claim_of(uid))

    def _uids_match(self, task: Executable) -> bool:
        """Whether *task* still has to be reported: it was not cancelled in the queue."""
        return self._uids.get(task.request.task_id) == task.uid

    def _up(self, task: Executable, info: str) -> Report:
        """The service *task* is up: that is its result; it runs on until the end."""
        task.up = True
        task.watch = None
        del self._uids[task.request.task_id]
        return Report(*task.ids, TaskState.DONE, info)

    def _drop(self, task: Executable) -> None:
        self._executables.pop(task.uid, None)
        if self._uids_match(task):
            del self._uids[task.request.task_id]
        # The claim stays: RADICAL-Pilot may start what it has called CANCELED.
        for file in task.leftovers():
            file.unlink(missing_ok=True)

    def _look(self) -> None:
        """See to it that somebody looks for results of functions and news of services."""
        if self._looker is None:
            self._looker = threading.Thread(
                target=self._keep_looking, name="asyncflow-radical", daemon=True
            )
            self._looker.start()
        self._changed.notify_all()

    def _expecting(self) -> bool:
        return any(bag.outstanding for bag in self._bags.values()) or any(
            task.watch is not None and task.running for task in self._executables.values()
        )

    def _keep_looking(self) -> None:
        pause = _LOOK
        while True:
            with self._lock:
                while not self._closed and not self._expecting():
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
                for task in list(self._executables.values()):
                    if task.watch is None or not task.running or not self._uids_match(task):
                        continue
                    info = task.watch.look(task.watched)
                    if info is not None:
                        reports.append(self._up(task, info))
                if reports:
                    self._changed.notify_all()
            if reports:
                self._report(reports)
                pause = _LOOK
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_LOOK)

    def _outstanding(self) -> bool:
        return bool(self._uids) or any(bag.outstanding for bag in self._bags.values())

    def wait(self) -> None:
        """Until every task has ended, or `cancel_all` is called."""
        with self._lock:
            while not (self._closed or self._hurried) and self._outstanding():
                self._changed.wait()

    def wait_for_one(self) -> bool:
        """Until there is a task to run; False if the end comes first."""
        with self._lock:
            while not self._closed and not self._outstanding():
                self._changed.wait()
            return not self._closed

    def lost(self, error: PilotLostError) -> None:
        """The pilot is gone: what had begun fails with *error*, the rest waits for the next."""
        reports: list[Report] = []
        with self._lock:
            self._send = None
            self._bag_of.clear()
            for task in list(self._executables.values()):
                open_ = self._uids_match(task)
                unbegun = not begun(task.claimed) and not task.running
                self._drop(task)
                if task.up:
                    _log.warning("service %r ended with its pilot", task.name)
                elif open_ and task.cancelled:
                    reports.append(Report(*task.ids, TaskState.CANCELLED))
                elif open_ and unbegun:
                    self._held.append(self._describe(task.request))
                elif open_:
                    reports.append(Report(*task.ids, TaskState.FAILED, error))
            for bag in self._bags.values():
                reports += bag.lost(error)
            self._changed.notify_all()
        if reports:
            self._report(reports)

    def close(self) -> None:
        """Stop looking for results; what still comes from the host is reported."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            looker, self._looker = self._looker, None
            doubts, self._doubts = self._doubts, []
        for timer in doubts:
            timer.cancel()
            if timer is not threading.current_thread():
                timer.join()
        if looker is not None and looker is not threading.current_thread():
            looker.join()

    def forget(self) -> None:
        """The end, and whoever called it reports what is left."""
        self.close()
        with self._lock:
            self._send = None
            self._executables.clear()
            self._uids.clear()
            for bag in self._bags.values():
                bag.clear()

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
