"""The pilots of one backend, one after the other; another one follows if one is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from radical.asyncflow.config import closest
from radical.asyncflow.errors import (
    BackendError,
    BackendStartError,
    ConfigurationError,
    DeathReason,
)
from radical.asyncflow.worker import Death, LastAnswer, job_state, safe_str

from .._host.logs import log_tails
from .._host.messages import (
    Event,
    Order,
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
)
from .._host.program_end import HostProcess
from ..errors import PilotLostError
from .job import describe_silence, read_job
from .job_end import batch_system, explain_end, find_job
from .places import path_in_url
from .plan import PilotPlan

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait

__all__ = ["PilotSeries", "PilotTasks"]

_LOCAL_END_S = 8.0  # for the host process to end a pilot of this machine
_JOB_END_S = 10.0  # for it to have the batch system cancel a job
_REPLACER_END_S = 8.0  # for the thread that ends or replaces a lost pilot

_log = logging.getLogger("radical.asyncflow")


ReportLost = Callable[[BaseException, Collection[int]], None]


class PilotTasks(Protocol):
    """The tasks that the pilots run; every method may be called from any thread."""

    def attach(self, send: Callable[[Order], None]) -> None:
        """Submit what waits for a pilot, and everything from now on, through *send*."""

    def change(self, changes: Sequence[TaskChange]) -> None:
        """Take note of what became of some tasks."""

    def lose_pilot(self, error: BackendError) -> None:
        """Fail what had begun, and let the rest wait for the next pilot."""

    def wait_for_task(self) -> bool:
        """Wait until there is a task for a pilot; return False if the end comes first."""

    def lose_all(self, error: BackendError, report_lost: ReportLost) -> None:
        """Fail what had begun, and hand the rest to *report_lost*: no other pilot follows."""

    def close(self) -> None:
        """Stop every thread, and wake those that wait."""


@dataclass(eq=False, slots=True)
class _Pilot:
    """One pilot and the process that holds it.

    Attributes:
        timer: ends the wait for the pilot to be ready.
        session: the name of RADICAL-Pilot's session; "" before there is one.
        sandbox: the pilot's folder; "" before it is ready.
        is_active: its agent has answered.
        is_lost: it has ended, or never came up.
    """

    host: HostProcess | None = None
    timer: threading.Timer | None = None
    session: str = ""
    sandbox: str = ""
    is_ready: bool = False
    is_active: bool = False
    is_lost: bool = False


class PilotSeries:
    """The pilots of one backend: the first, and those that replace lost ones.

    Every method may be called from any thread; events come in the host's reading thread.

    Attributes:
        started: done when the first pilot is ready; its exception says why it is not.
        task_attributes: the attributes of RADICAL-Pilot's `TaskDescription`, once known.
        has_failed: whether a pilot was lost.
    """

    def __init__(
        self,
        plan: PilotPlan,
        folder: Path,
        tasks: PilotTasks,
        *,
        backend: str,
        configs: Path | None,
        replacements: int,
        startup_timeout_s: float,
        agent_timeout_s: float,
        report_lost: ReportLost,
    ) -> None:
        """Submit nothing yet.

        Args:
            folder: where RADICAL-Pilot writes its sessions.
            backend: its name, for messages.
            configs: the folder of RADICAL-Pilot's user configurations; None for the user's own.
            replacements: how many pilots may follow the first one.
            agent_timeout_s: how long an agent that a batch system started may take to answer.
            report_lost: called when a pilot is lost and no other may follow, with the reason
                and the ids of the tasks that had not begun.
        """
        self._plan = plan
        self._folder = folder
        self._tasks = tasks
        self._backend = backend
        self._configs = configs
        self._replacements_left = replacements
        self._startup_timeout_s = startup_timeout_s
        self._agent_timeout_s = agent_timeout_s
        self._agent_start_s = max(startup_timeout_s, agent_timeout_s)
        self._report_lost = report_lost
        self._lock = threading.RLock()
        self._pilot = _Pilot()
        self._is_closing = False
        self._replacer: threading.Thread | None = None
        self._job_told = LastAnswer(self._ask_for_job)
        self.started: Future[None] = Future()
        self.started.set_running_or_notify_cancel()  # whoever waits cannot cancel it
        self.task_attributes: Collection[str] = ()
        self.has_failed = False

    @property
    def sandbox(self) -> str:
        """The present pilot's folder; "" before the pilot is ready."""
        return self._pilot.sandbox

    def holdup(self) -> Wait | None:
        """Return what all tasks wait for as long as no pilot is active; None if one is."""
        from radical.asyncflow.backend import Wait, WaitKind  # here: most programs never ask

        with self._lock:
            pilot = self._pilot
        if pilot.is_active and not pilot.is_lost:
            return None
        if not self._plan.is_queued:
            text = f"the pilot of backend {self._backend!r}, which is starting"
            return Wait(kind=WaitKind.BACKEND, text=text)
        if pilot.is_lost or not pilot.sandbox:
            text = f"the next pilot of backend {self._backend!r}, which is submitted"
            return Wait(kind=WaitKind.BACKEND, text=text)
        told = self._job_told.get()
        system = batch_system(self._plan.job_manager)
        job = f"the job of the pilot of backend {self._backend!r}"
        if told.startswith("RUNNING"):
            text = f"the agent of the pilot of backend {self._backend!r}, whose job runs"
            return Wait(kind=WaitKind.BACKEND, text=text)
        says = f"; {system} says: {told}" if told else ""
        return Wait(kind=WaitKind.QUEUE, text=f"{job}, which is in the queue of {system}{says}")

    def _ask_for_job(self) -> str:
        """Ask the batch system for the state of the present pilot's job."""
        system = batch_system(self._plan.job_manager)
        job = find_job(self._pilot.sandbox, self._plan.job_manager)
        return job_state(job, system) if job else ""

    def submit_next(self) -> None:
        """Start a process that holds RADICAL-Pilot, and submit a pilot from it."""
        description = dict(self._plan.description)
        if self._plan.is_local:
            description.setdefault("sandbox", str(self._folder))
        with self._lock:
            if self._is_closing:
                return
            pilot = self._pilot = _Pilot()
            self._job_told.forget()
            host = pilot.host = HostProcess(
                self._folder,
                configs=self._configs,
                has_job=self._plan.is_queued,
                on_events=partial(self._receive, pilot),
                on_exit=partial(self._lose_host, pilot),
            )
            pilot.timer = threading.Timer(self._startup_timeout_s, self._time_out, [pilot])
            pilot.timer.daemon = True
            pilot.timer.start()
            host.send(
                StartPilot(
                    description,
                    self._plan.is_queued,
                    self._plan.job_manager,
                    agent_start_s=self._agent_start_s,
                    agent_answer_s=self._agent_timeout_s,
                )
            )
            # With the lock, so that a loss of this pilot comes after it, and takes the tasks back.
            self._tasks.attach(host.send)

    def close(self) -> bool:
        """End the threads of the tasks, and the pilot, in bounded time.

        Returns:
            False if a process is left that goes on trying to cancel the pilot's job.
        """
        pilot = self._begin_end()
        self._tasks.close()
        self._job_told.close()
        if self._replacer is not None:
            self._replacer.join(_REPLACER_END_S)
        return self._end(pilot)

    def abandon(self) -> str:
        """End a first pilot that did not start; return the places and last lines of its logs."""
        pilot = self._begin_end()
        logs = ""
        try:
            if pilot.host is not None:
                session = self._folder / pilot.session if pilot.session else None
                logs = log_tails(pilot.host.log, session, pilot.sandbox)
                if self._plan.is_queued:
                    self._end(pilot)
                pilot.host.kill(gently=True)
        finally:
            self._tasks.close()
        return logs

    def _begin_end(self) -> _Pilot:
        """Let no other pilot follow the present one, and return that."""
        with self._lock:
            self._is_closing = True
            pilot = self._pilot
            if pilot.timer is not None:
                pilot.timer.cancel()
        self._settle(BackendStartError("it was shut down before its pilot was ready"))
        return pilot

    def _end(self, pilot: _Pilot) -> bool:
        """End *pilot* and its host; return False if the host still has a job to cancel."""
        limit_s = _JOB_END_S if self._plan.is_queued else _LOCAL_END_S
        return pilot.host is None or pilot.host.close(limit_s)

    def _receive(self, pilot: _Pilot, events: Sequence[Event]) -> None:
        for event in events:
            if pilot is self._pilot and not pilot.is_lost:
                self._handle(pilot, event)

    def _handle(self, pilot: _Pilot, event: Event) -> None:
        match event:
            case TasksChanged(changes):
                self._tasks.change(changes)
            case SessionOpened(session, task_attributes, _):
                pilot.session = session
                self.task_attributes = task_attributes
            case PilotReady(sandbox):
                pilot.sandbox = path_in_url(sandbox)
                pilot.is_ready = True
                assert pilot.timer is not None
                pilot.timer.cancel()
                self._settle()
            case PilotActive():
                pilot.is_active = True
            case PilotSilent():
                self._lose_silent(pilot)
            case PilotRefused(unknown, known):
                hints = "; ".join(f"{key!r}{closest(key, known)}" for key in unknown)
                self._settle(
                    ConfigurationError(
                        f"config of backend {self._backend!r}: pilot: PilotDescription has no "
                        f"attribute {hints}"
                    )
                )
            case PilotFailed(error, traceback):
                reason = f"RADICAL-Pilot did not start: {error}\n{traceback}"
                self._lose(pilot, "FAILED", reason, start_error=reason)
            case PilotEnded(state, sandbox, log):
                pilot.sandbox = path_in_url(sandbox)
                start_error = f"the pilot ended in state {state} before it was active"
                end = Death(DeathReason.UNKNOWN)
                if not self._is_closing:
                    end = explain_end(pilot.sandbox, self._plan.job_manager)
                detail = "\n".join(filter(None, (end.evidence, log)))
                self._lose(pilot, state, detail, start_error=start_error, reason=end.reason)

    def _lose_host(self, pilot: _Pilot, code: int | None) -> None:
        """Lose *pilot*, because its host process has ended with exit *code*, if that is known."""
        if code is None:
            how = "how is not known: this program ignores SIGCHLD or waits for any child"
        else:
            how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        start_error = f"the process that held RADICAL-Pilot ended ({how})"
        self._lose(pilot, "LOST", how, start_error=start_error)

    def _time_out(self, pilot: _Pilot) -> None:
        """Lose *pilot*, because it is not ready in time."""
        if pilot.is_ready:
            return
        detail = f"the pilot did not come up within {self._startup_timeout_s:g} s"
        self._lose(pilot, "FAILED", detail, start_error=detail)

    def _lose_silent(self, pilot: _Pilot) -> None:
        """Lose *pilot*, whose job runs but whose agent does not answer, and cancel its job.

        The first pilot is not replaced, because the next one would be silent, too.
        """
        job = read_job(pilot.sandbox)
        limit_s = self._agent_timeout_s if job.has_agent else self._agent_start_s
        detail = describe_silence(job, pilot.sandbox, limit_s)
        with self._lock:
            if self.has_failed:  # but an earlier pilot was lost, so this is no failed start
                self._lose(pilot, "FAILED", detail, start_error=detail)
                return
            if self._is_closing or pilot.is_lost:
                return
            pilot.is_lost = self.has_failed = True
        error = BackendStartError(
            f"backend {self._backend!r} on {self._plan.label!r}: {detail}\n"
            f"its logs are in {pilot.sandbox}"
        )
        self._tasks.lose_all(error, self._report_lost)
        self._start_aside(self._end, pilot)

    def _start_aside(self, step: Callable[[_Pilot], object], pilot: _Pilot) -> None:
        """Call *step* with the lost *pilot* in a thread, for which `close` waits."""
        self._replacer = threading.Thread(
            target=step, args=(pilot,), name="asyncflow-radical", daemon=True
        )
        self._replacer.start()

    def _lose(
        self,
        pilot: _Pilot,
        state: str,
        detail: str,
        *,
        start_error: str,
        reason: DeathReason = DeathReason.UNKNOWN,
    ) -> None:
        """Replace *pilot*, or report that no other follows it.

        A first pilot that was never ready is not replaced: the start fails with *start_error*.
        """
        with self._lock:
            if self._is_closing or pilot is not self._pilot or pilot.is_lost:
                return
            pilot.is_lost = True
            if not self.started.done():
                self._settle(BackendStartError(start_error))
                return
            self.has_failed = True
            is_last = self._replacements_left == 0
            if not is_last:
                self._replacements_left -= 1
        error = PilotLostError(state, pilot.sandbox or str(self._folder), detail, reason)
        if is_last:
            self._tasks.lose_all(error, self._report_lost)
            self._start_aside(self._end_lost, pilot)
            return
        _log.warning("backend %r: %s; the next pilot takes over", self._backend, error)
        self._tasks.lose_pilot(error)
        self._start_aside(self._replace, pilot)

    def _replace(self, lost: _Pilot) -> None:
        """End what *lost* left, and submit the next pilot when there is a task for it."""
        self._end_lost(lost)
        if not self._tasks.wait_for_task():
            return
        try:
            self.submit_next()
        except Exception as exc:
            _log.exception("backend %r: the next pilot could not be submitted", self._backend)
            error = safe_str(exc)
            self._lose(self._pilot, "FAILED", error, start_error=error)

    def _end_lost(self, lost: _Pilot) -> None:
        """End what *lost* left: what runs there would go on beside its own retries."""
        if self._plan.is_queued:
            self._end(lost)  # it may have a job that nobody else would cancel
        elif lost.host is not None:
            lost.host.kill()

    def _settle(self, error: Exception | None = None) -> None:
        """Let `started` end with *error*, unless it has ended."""
        with suppress(InvalidStateError):
            if error is None:
                self.started.set_result(None)
            else:
                self.started.set_exception(error)
