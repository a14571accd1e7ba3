"""All tasks that the backend holds, from their submission to their report."""

from __future__ import annotations

import dataclasses
import json
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radical.asyncflow.backend import (
    Command,
    Report,
    Serving,
    TaskKind,
    TaskRequest,
    TaskState,
    TaskTrace,
)
from radical.asyncflow.errors import BackendError, BackendLostError, SerializationError
from radical.asyncflow.worker import Codes, OutputSearch, file_stem, import_path

from .._host.environment import task_environment
from .._host.messages import CancelTasks, Order, SubmitTasks, TaskChange, TaskStage
from .._pilot.plan import PilotPlan
from .doubts import Doubts
from .executable import Executable
from .functions import Functions
from .ranked import RankedFunction, as_command
from .script import has_begun, has_succeeded, signed_exit_code, withdraw
from .traces import Traces
from .use import Use

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait, Written

__all__ = ["Tasks"]

_LOOK = """
import json, sys
sys.path[:] = json.loads(open(sys.argv[1]).read())
from asyncflow_backend_radical._worker.readiness import main
main(*sys.argv[2:])
"""
_SHORTEST_POLL_S = 0.005  # between two looks for results, as long as there are some
_LONGEST_POLL_S = 0.05
_READINGS = 3  # of two clocks, because a thread may stand still between them
_ENDED_BY_OTHERS = (-signal.SIGTERM, -signal.SIGKILL)


class Tasks:
    """The tasks that have not been reported; every method may be called from any thread.

    Without a pilot, tasks wait here until `attach` gives them the next one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        capture: Path,
        report: Callable[[Iterable[Report]], None],
        serving: Callable[[int, int, Serving], None],
        traces: Traces,
        plan: PilotPlan,
    ) -> None:
        """Make the folders of what is exchanged.

        Args:
            folder: what the program and the nodes share.
            capture: the folder for the streams of services, and of tasks with ``capture_stdio``.
            serving: called with the task, the attempt and what there is to know of a service.
        """
        exchange = folder / "exchange"
        self._streams = exchange / "streams"
        self._marks = exchange / "marks"
        functions = exchange / "functions"
        for part in (self._streams, self._marks, functions):
            part.mkdir(parents=True, mode=0o700)
        self._environment = exchange / "environment.sh"
        self._environment.touch(mode=0o600)  # it may hold secrets
        self._environment.write_bytes(task_environment(is_local=plan.is_local))
        self._capture = capture
        self._report = report
        self._serving = serving
        self._traces = traces
        self._plan = plan
        self._send: Callable[[Order], None] | None = None  # None without a pilot
        self._waiting: list[dict[str, Any]] = []  # descriptions, for the next pilot
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._executables: dict[str, Executable] = {}
        self._uid_of: dict[int, str] = {}  # of the executables that have no terminal report
        self._functions = Functions(
            functions,
            plan,
            traces,
            mark_of=self._mark_of,
            streams=self._streams,
            environment=self._environment,
            submit=self._submit,
            cancel=self._cancel,
        )
        self._codes = Codes()  # of functions with ranks
        self._collector: threading.Thread | None = None
        self._doubts = Doubts(partial(self.change, is_certain=True))
        self._lost: BackendError | None = None
        self._is_cancelled = False
        self._is_closed = False

    # ---------------------------------------------------------------- from the engine

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Take the tasks of *batch*.

        Raises:
            BackendLostError: the last pilot is lost.
        """
        with self._lock:
            if self._lost is not None:
                raise BackendLostError(str(self._lost)) from self._lost
            functions = [each for each in batch if _has_worker(each)]
            failed: list[Report] = []
            descriptions = []
            for request in batch:
                if not _has_worker(request):
                    try:
                        descriptions.append(self._add(request))
                    except SerializationError as exc:
                        ids = request.task_id, request.attempt
                        failed.append(Report(*ids, TaskState.FAILED, exc))
            if descriptions:
                self._submit(descriptions)
            failed += self._functions.add(functions)
            if functions:
                self._start_collector()
            self._changed.notify_all()
        if failed:
            self._report(failed)

    def cancel(self, task_ids: Collection[int]) -> None:
        """Cancel tasks; those that had not begun are reported before this returns."""
        reports: list[Report] = []
        uids: list[str] = []
        with self._lock:
            for task_id in task_ids:
                uid = self._uid_of.get(task_id)
                if uid is None:
                    reports += self._functions.cancel(task_id)
                    continue
                task = self._executables[uid]
                if task.is_cancelled:
                    continue
                task.is_cancelled = True
                uids.append(uid)
                if withdraw(task.mark):
                    reports.append(task.report(TaskState.CANCELLED))
                    del self._uid_of[task_id]
            if uids:
                self._cancel(uids)
            self._changed.notify_all()
        if reports:
            self._report(reports)

    def waits(self, task_ids: Collection[int], backend: str) -> dict[int, Wait]:
        """Return what those of the tasks wait for that have not begun on a pilot that is active."""
        from .waits import wait_for_agent  # here, because most programs never ask

        with self._lock:
            found = self._functions.waits(task_ids, backend)
            running = [task.request for task in self._executables.values() if task.is_running]
            for task in self._executables.values():
                task_id = task.request.task_id
                if task_id in task_ids and not task.is_running and self._is_unreported(task):
                    asked = task.request.spec.resources
                    found[task_id] = wait_for_agent(
                        asked, running, self._functions.cores, self._plan, backend
                    )
            return found

    def written(self, task_ids: Collection[int]) -> dict[int, Written]:
        """Return the files that have what those of the tasks wrote that are commands and run."""
        with self._lock:
            found = {
                task_id: self._executables[uid]
                for task_id in task_ids
                if (uid := self._uid_of.get(task_id)) is not None
            }
            return {task_id: task.written() for task_id, task in found.items() if task.is_running}

    def unbegun(self, task_ids: Collection[int]) -> list[int]:
        """Return those of the tasks that have not begun."""
        with self._lock:
            running = {
                task.request.task_id for task in self._executables.values() if task.is_running
            }
            return [
                task_id
                for task_id in (*self._uid_of, *self._functions.task_ids())
                if task_id in task_ids and task_id not in running
            ]

    def cancel_all(self) -> None:
        """Cancel every task, and let nobody `wait` for one."""
        with self._lock:
            self._is_cancelled = True
            task_ids = [*self._uid_of, *self._functions.task_ids()]
        self.cancel(task_ids)

    def wait(self) -> None:
        """Wait until every task has ended, or `cancel_all` or `close` is called."""
        with self._lock:
            while not (self._is_closed or self._is_cancelled) and self._has_to_finish():
                self._changed.wait()

    # ---------------------------------------------------------------- from the pilots

    def attach(self, send: Callable[[Order], None]) -> None:
        """Submit what waits for a pilot, and everything from now on, through *send*."""
        with self._lock:
            self._send = send
            waiting, self._waiting = self._waiting, []
            waiting = [each for each in waiting if self._is_wanted(each["uid"])]
            if waiting:
                self._submit(waiting)
            self._functions.start_workers()

    def change(self, changes: Sequence[TaskChange], *, is_certain: bool = False) -> None:
        """Take note of what became of some tasks; *is_certain* if no lost pilot explains it."""
        reports: list[Report] = []
        ended: list[tuple[Executable, TaskChange]] = []
        with self._lock:
            for change in changes if is_certain else self._hold_doubtful(changes):
                task = self._executables.get(change.uid)
                if self._functions.is_worker(change.uid):
                    reports += self._functions.change_worker(change)
                elif task is None:
                    continue
                elif change.stage is not TaskStage.RUNNING:
                    ended.append((task, change))
                elif not task.is_cancelled:
                    self._mark_running(task)
        # Without the lock, because output may be long.
        for task, change in ended:
            if self._is_unreported(task):
                reports += self._reports_of_end(task, change)
        with self._lock:
            for task, _ in ended:
                self._drop(task)
            self._changed.notify_all()
        if reports:
            self._report(reports)

    def _reports_of_end(self, task: Executable, change: TaskChange) -> list[Report]:
        """Return the reports of the end of *task*, and tell before what it left behind."""
        use = task.use()
        trace = TaskTrace(usage=None if use is None else use.usage)
        spec = task.request.spec
        keeps_files = spec.capture_stdio or spec.service
        if task.is_cancelled and self._traces.wanted.output and not keeps_files:
            trace = trace._replace(**task.last_words())
        outcome = task.outcome(change, self._capture)
        self._traces.tell(task.request, trace)
        ran = None if use is None or not self._plan.is_local else _ran(use, task.submitted)
        if ran is None or outcome.state is TaskState.CANCELLED:
            return [outcome]
        # RADICAL-Pilot says it some tenths of a second later.
        begun = task.report(TaskState.RUNNING)._replace(time=ran[0])
        return [begun, outcome._replace(time=ran[1])]

    def lose_pilot(self, error: BackendError) -> None:
        """Fail what had begun with *error*, and let the rest wait for the next pilot."""
        reports: list[Report] = []
        with self._lock:
            self._send = None
            for task in list(self._executables.values()):
                is_unreported = self._is_unreported(task)
                may_begin = not has_begun(task.mark) and not task.is_running
                self._drop(task)
                if not is_unreported:
                    continue
                if task.is_cancelled:
                    reports.append(task.report(TaskState.CANCELLED))
                elif may_begin:
                    self._waiting.append(self._add(task.request))
                else:
                    reports.append(task.report(TaskState.FAILED, error))
            reports += self._functions.lose_pilot(error)
            self._changed.notify_all()
        if reports:
            self._report(reports)

    def wait_for_task(self) -> bool:
        """Wait until there is a task to run; return False if `close` is called before."""
        with self._lock:
            while not self._is_closed and not self._has_unfinished():
                self._changed.wait()
            return not self._is_closed

    # ------------------------------------------------------------------------- the end

    def close(self) -> None:
        """Stop every thread, and wake those that wait.  `change` still reports what it is told."""
        with self._lock:
            self._is_closed = True
            self._changed.notify_all()
            collector, self._collector = self._collector, None
        self._doubts.close()
        if collector is not None and collector is not threading.current_thread():
            collector.join()

    def lose_all(
        self,
        error: BackendError,
        report_lost: Callable[[BaseException, Collection[int]], None],
    ) -> None:
        """Close, and fail what had begun with *error*, because no other pilot follows.

        Args:
            report_lost: called with *error* and the ids of the tasks that had not begun, and
                never will.
        """
        self.close()
        with self._lock:
            self.lose_pilot(error)
            unbegun = [*self._uid_of, *self._functions.task_ids()]
            self._clear()
            self._lost = error
            report_lost(error, unbegun)  # with the lock: before `submit` refuses anything

    def cancel_rest(self) -> None:
        """Report the tasks as cancelled whose end the pilot did not report before its own."""
        with self._lock:
            requests = self._clear()
        if requests:
            self._report(
                [Report(each.task_id, each.attempt, TaskState.CANCELLED) for each in requests]
            )

    def _clear(self) -> list[TaskRequest]:
        """Drop all tasks; return the requests of those that have no terminal report."""
        tasks = self._executables.values()
        requests = [task.request for task in tasks if self._is_unreported(task)]
        self._executables.clear()
        self._uid_of.clear()
        return requests + self._functions.clear()

    # --------------------------------------------------------------------- executables

    def _add(self, request: TaskRequest) -> dict[str, Any]:
        """Add an executable, or a function with ranks; return its description for RADICAL-Pilot.

        Raises:
            SerializationError: the function or its arguments cannot be pickled.
        """
        # A random part, because a task that is submitted again has the same numbers.
        uid = f"task.{request.task_id}.{request.attempt}.{secrets.token_hex(2)}"
        ranks_folder = self._streams / f"{uid}.ranks"
        make: Callable[..., Executable] = Executable
        if request.spec.kind is TaskKind.FUNCTION:
            request = as_command(request, ranks_folder, self._codes)
            make = partial(RankedFunction, folder=ranks_folder)
        command, spec = request.command, request.spec
        assert isinstance(command, Command)
        folder, stem = self._streams, uid
        if spec.capture_stdio or spec.service:
            folder, stem = self._capture, f"{file_stem(spec.name)}.{secrets.token_hex(6)}"
        stdin = None
        if command.stdin is not None:
            data = command.stdin.encode() if isinstance(command.stdin, str) else command.stdin
            stdin = self._streams / f"{uid}.stdin"
            stdin.write_bytes(data)
        task = make(
            request,
            uid,
            stdout=folder / f"{stem}.stdout",
            stderr=folder / f"{stem}.stderr",
            stdin=stdin,
            mark=self._mark_of(uid),
            environment=self._environment,
            tells_end=self._plan.is_queued,
            measures=self._traces.wanted.usage,
            submitted=time.monotonic(),
        )
        self._look_for_info(task)
        self._executables[uid] = task
        self._uid_of[request.task_id] = uid
        return task.description()

    def _look_for_info(self, task: Executable) -> None:
        """Prepare how to see that the service *task* is up, if it is one that has a sign."""
        readiness = task.request.spec.readiness
        if readiness.ready_url is not None or readiness.ready_port is not None:
            # Only its node can ask it.
            stdout, stderr = task.serving(None)[:2]
            task.info_file = self._marks / f"{task.uid}.info"
            signs = dataclasses.asdict(readiness)
            order = (signs, stdout, stderr, str(task.info_file), self._plan.is_local)
            path_file = self._marks / "path.json"
            path_file.write_text(json.dumps(import_path()))
            task.before = (sys.executable, "-I", "-c", _LOOK, str(path_file), json.dumps(order))
        elif (expression := readiness.expression) is not None:
            task.info_search = OutputSearch(expression)

    def _mark_of(self, uid: str) -> Path:
        return self._marks / uid

    def _is_wanted(self, uid: str) -> bool:
        """Return whether the task *uid* still has to run; drop one that was cancelled."""
        task = self._executables.get(uid)
        if task is None:
            return self._functions.is_worker(uid)
        if self._is_unreported(task):
            return True
        self._drop(task)
        return False

    def _is_unreported(self, task: Executable) -> bool:
        """Return whether *task* has no terminal report, as one that was withdrawn has."""
        return self._uid_of.get(task.request.task_id) == task.uid

    def _mark_running(self, task: Executable) -> None:
        """Take note that *task* runs; a service without a pattern is up with that."""
        task.is_running = True
        # Before the first news of the service, which come by another way.
        self._report([task.report(TaskState.RUNNING)])
        if task.request.spec.service:
            if task.awaits_info:
                self._tell(task, None)
                self._start_collector()
            else:
                self._tell(task, "")

    def _tell(self, task: Executable, info: str | None) -> None:
        """Tell of a service that has begun or, with its *info*, that it is up."""
        if info is not None:
            task.is_up = True
        self._serving(task.request.task_id, task.request.attempt, task.serving(info))
        self._changed.notify_all()

    def _drop(self, task: Executable) -> None:
        self._executables.pop(task.uid, None)
        if self._is_unreported(task):
            del self._uid_of[task.request.task_id]
        task.remove_files()

    def _submit(self, descriptions: Sequence[dict[str, Any]]) -> None:
        tasks = self._executables.values()
        asked = sum(task.request.spec.resources.total_cores for task in tasks)
        if asked + self._functions.cores > self._plan.cores:
            self._functions.free_cores()
        if not self._plan.binds_gpus:
            for description in descriptions:
                if description.get("gpus_per_rank"):
                    # Has RADICAL-Pilot set CUDA_VISIBLE_DEVICES, which HIP reads as well.
                    description.setdefault("gpu_type", "CUDA")
        if self._send is None:
            self._waiting += descriptions
        else:
            self._send(SubmitTasks(descriptions))

    def _cancel(self, uids: Sequence[str]) -> None:
        if self._send is not None:
            self._send(CancelTasks(uids))

    def _hold_doubtful(self, changes: Sequence[TaskChange]) -> list[TaskChange]:
        """Hold back the ends that a lost pilot may explain; return the other changes."""
        doubtful = [change for change in changes if self._is_doubtful(change)]
        if doubtful:
            self._doubts.hold(doubtful)
        return [change for change in changes if change not in doubtful]

    def _is_doubtful(self, change: TaskChange) -> bool:
        code = change.exit_code
        if change.stage in (TaskStage.RUNNING, TaskStage.REFUSED) or code is None:
            return False
        if self._is_closed or self._is_cancelled or not self._plan.is_queued:
            return False
        task = self._executables.get(change.uid)
        if task is None and not self._functions.is_worker(change.uid):
            return False
        if task is not None and task.is_cancelled:
            return False
        mark = self._mark_of(change.uid)
        if change.stage is not TaskStage.FAILED:
            ranks = 1 if task is None else task.ranks
            return change.stage is TaskStage.DONE and not has_succeeded(mark, ranks)
        return signed_exit_code(code) in _ENDED_BY_OTHERS or not has_begun(mark)

    # -------------------------------------------------- results of functions and services

    def _start_collector(self) -> None:
        """Make sure that a thread collects what functions and services have written."""
        if self._collector is None:
            self._collector = threading.Thread(
                target=self._keep_collecting, name="asyncflow-radical", daemon=True
            )
            self._collector.start()
        self._changed.notify_all()

    def _keep_collecting(self) -> None:
        """Report what functions and services write, until the end."""
        poll_s = _SHORTEST_POLL_S
        while True:
            with self._lock:
                while not self._is_closed and not self._has_to_collect():
                    self._changed.wait()
                    poll_s = _SHORTEST_POLL_S
                if self._is_closed:
                    return
                reports = self._functions.collect()
                self._collect_infos()
                if reports:
                    self._changed.notify_all()
            self._traces.hand_on_records()
            if reports:
                self._report(reports)
                poll_s = _SHORTEST_POLL_S
            time.sleep(poll_s)
            poll_s = min(1.5 * poll_s, _LONGEST_POLL_S)

    def _has_to_collect(self) -> bool:
        return self._functions.unfinished > 0 or any(
            task.awaits_info for task in self._executables.values()
        )

    def _collect_infos(self) -> None:
        """Tell of the services that have written their info."""
        for task in self._executables.values():
            if task.awaits_info and self._is_unreported(task):
                info = task.find_info()
                if info is not None:
                    self._tell(task, info)

    def _has_unfinished(self) -> bool:
        return bool(self._uid_of) or self._functions.unfinished > 0

    def _has_to_finish(self) -> bool:
        """Return whether there is more than services that are up, which never finish."""
        return self._functions.unfinished > 0 or not all(
            self._executables[uid].is_up for uid in self._uid_of.values()
        )


def _has_worker(request: TaskRequest) -> bool:
    """Tell whether a task is a function that a worker runs, and not one with ranks."""
    return request.spec.kind is TaskKind.FUNCTION and request.spec.resources.ranks == 1


def _ran(use: Use, submitted: float) -> tuple[float, float] | None:
    """Return when a command on this machine began and ended, by `time.monotonic`.

    None if it is not known, or if the clock of the machine was set meanwhile.
    """
    if use.began is None or use.ended is None:
        return None
    readings = []
    for _ in range(_READINGS):
        before, wall, after = time.monotonic(), time.time(), time.monotonic()
        readings.append((after - before, before - wall))
    _, shift = min(readings)
    began, ended = use.began + shift, use.ended + shift
    return (began, ended) if submitted <= began <= ended <= time.monotonic() else None
