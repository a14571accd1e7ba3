"""RADICAL-Pilot's session with one pilot: orders become calls, its callbacks become events."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from radical.asyncflow.worker import safe_str

from .agent_watch import AgentWatch
from .last_will import cancel_job_after_death
from .messages import (
    Event,
    PilotActive,
    PilotEnded,
    PilotFailed,
    PilotReady,
    PilotRefused,
    PilotSilent,
    SessionOpened,
    StartPilot,
    TaskChange,
    TasksChanged,
    TaskStage,
)
from .processes import descendants, titled

__all__ = ["PilotSession"]

_TASKS_END_S = 4.0  # for cancelled tasks to end
_JOB_CANCEL_S = 60.0  # for the batch system to be told to cancel the job
_POLL_S = 0.02
_LAUNCHER_TITLE = "rp.pmgr_launching"
_ENDED = ("DONE", "FAILED", "CANCELED")
_ACTIVE = "PMGR_ACTIVE"
_IN_QUEUE = "PMGR_ACTIVE_PENDING"


class PilotSession:
    """A session of RADICAL-Pilot with its managers and its one pilot.

    The public methods are called in the main thread, one at a time.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        """Open nothing yet; *tell* takes the events, in any thread."""
        self._tell = tell
        self._rp: Any = None
        self._session: Any = None
        self._pilot_manager: Any = None
        self._task_manager: Any = None
        self._pilot: Any = None
        self._is_queued = False
        self._order: StartPilot | None = None
        self._watch: AgentWatch | None = None  # None unless a job waits or its agent starts
        self._is_ready = False
        self._is_active = False
        self._lock = threading.Lock()
        self._unfinished: set[str] = set()
        self._cancelled: set[str] = set()

    def start_pilot(self, order: StartPilot) -> None:
        """Import RADICAL-Pilot and submit the pilot; every failure becomes an event."""
        description = order.description
        self._order = order
        self._is_queued = order.is_queued
        try:
            import radical.pilot as rp  # type: ignore[import-untyped]

            self._rp = rp
            known = sorted(rp.PilotDescription._schema)
            unknown = [key for key in description if key not in known]
            if unknown:
                self._tell(PilotRefused(unknown, known))
                return
            self._session = rp.Session()
            address = str(self._session.cfg.proxy_url)
            known = sorted(rp.TaskDescription._schema)
            self._tell(SessionOpened(self._session.uid, known, address))
            self._pilot_manager = rp.PilotManager(session=self._session)
            self._task_manager = rp.TaskManager(session=self._session)
            self._task_manager.register_callback(self._on_task)
            self._pilot_manager.register_callback(self._on_pilot)
            pilot = rp.PilotDescription(dict(description))
            self._pilot = self._pilot_manager.submit_pilots(pilot)
            if order.is_queued:
                sandbox = urlsplit(str(self._pilot.pilot_sandbox)).path
                cancel_job_after_death(sandbox, order.job_manager)
            self._task_manager.add_pilots(self._pilot)
        except BaseException as exc:  # RADICAL-Pilot raises SystemExit and KeyboardInterrupt, too
            self._tell(PilotFailed(safe_str(exc), traceback.format_exc()))

    def look(self) -> None:
        """Tell if the agent has not become active in time; called at least each second."""
        watch = self._watch
        if watch is not None and watch.is_over(time.monotonic()) and not self._is_active:
            self._watch = None
            self._tell(PilotSilent())

    def submit(self, descriptions: Sequence[dict[str, Any]]) -> None:
        """Submit tasks; those that RADICAL-Pilot does not accept are reported as REFUSED."""
        uids = [description["uid"] for description in descriptions]
        with self._lock:
            self._unfinished.update(uids)
        try:
            self._task_manager.submit_tasks(
                [self._rp.TaskDescription(description) for description in descriptions]
            )
        except Exception as exc:
            # RADICAL-Pilot submits nothing of a batch with a wrong description.
            if len(descriptions) > 1:
                for description in descriptions:
                    self.submit([description])
                return
            with self._lock:
                self._unfinished.difference_update(uids)
            detail = safe_str(exc)
            self._tell(TasksChanged([TaskChange(uids[0], TaskStage.REFUSED, detail=detail)]))

    def cancel(self, uids: Sequence[str]) -> None:
        """Cancel those of *uids* that have not ended."""
        with self._lock:
            unfinished = [uid for uid in uids if uid in self._unfinished]
            self._cancelled.update(unfinished)
        if unfinished:
            self._task_manager.cancel_tasks(unfinished)

    def end(self) -> None:
        """Cancel the tasks, and the job that a batch system would keep; in bounded time."""
        deadline = time.monotonic() + _TASKS_END_S
        with self._lock:
            unfinished = list(self._unfinished)
        if unfinished and self._is_active:
            self.cancel(unfinished)
            while self._unfinished and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        if self._is_queued and self._pilot is not None:
            self._cancel_job()

    def _cancel_job(self) -> None:
        """Have the batch system cancel the pilot's job, without waiting until it has done so.

        RADICAL-Pilot would wait until the batch system, which it asks twice a minute, says
        that the job is gone.  When its launcher ends, the batch system has been told.
        """
        launchers = titled(_LAUNCHER_TITLE, descendants(os.getpid()))
        closer = threading.Thread(target=self._close, daemon=True)
        closer.start()
        deadline = time.monotonic() + _JOB_CANCEL_S
        while launchers and closer.is_alive() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            launchers = titled(_LAUNCHER_TITLE, launchers)

    def _close(self) -> None:
        self._pilot_manager.kill_pilots(_timeout=0.1)
        self._session.close()

    def _on_task(self, task: Any, state: str) -> None:
        """Tell of a task's new state; RADICAL-Pilot calls it in a thread of its own."""
        uid = task.uid
        if state in (TaskStage.DONE, TaskStage.FAILED, TaskStage.CANCELED):
            with self._lock:
                self._unfinished.discard(uid)
                self._cancelled.discard(uid)
            detail = _why_it_failed(task) if state == TaskStage.FAILED else ""
            self._tell(TasksChanged([TaskChange(uid, TaskStage(state), task.exit_code, detail)]))
        elif state == TaskStage.RUNNING:
            with self._lock:
                cancelled = uid in self._cancelled
            if cancelled:
                # RADICAL-Pilot loses a cancellation that meets a task on its way from one
                # of its components to the next.
                self._task_manager.cancel_tasks([uid])
            self._tell(TasksChanged([TaskChange(uid, TaskStage.RUNNING)]))

    def _on_pilot(self, pilot: Any, state: str) -> None:
        """Tell of the pilot's new state; RADICAL-Pilot calls it in a thread of its own."""
        if state in _ENDED:
            self._watch = None
            self._tell(PilotEnded(state, str(pilot.pilot_sandbox), str(pilot.log or "")))
            return
        if state == _ACTIVE:
            self._is_active = True
            self._watch = None
            self._tell(PilotActive())
        if not self._is_ready and (self._is_active or (self._is_queued and state == _IN_QUEUE)):
            self._is_ready = True
            self._tell(PilotReady(str(pilot.pilot_sandbox)))
            if not self._is_active:
                assert self._order is not None
                self._watch = AgentWatch(
                    Path(urlsplit(str(pilot.pilot_sandbox)).path),
                    start_limit_s=self._order.agent_start_s,
                    answer_limit_s=self._order.agent_answer_s,
                )


def _why_it_failed(task: Any) -> str:
    # Without an exit code the command did not run: what it wrote explains nothing.
    written = None if task.exit_code is None else task.stderr
    return str(written or task.exception_detail or task.exception or task.stderr or "")
