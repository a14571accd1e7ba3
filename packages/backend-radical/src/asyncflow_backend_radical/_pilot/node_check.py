"""The check of the way from a node back to this machine: a pilot that runs no task."""

from __future__ import annotations

import math
import queue
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from radical.asyncflow.backend import Route
from radical.asyncflow.errors import BackendStartError
from radical.asyncflow.worker import Knock, NodeCheck, NodeSign, job_state

from .._host.logs import log_tails
from .._host.messages import (
    Event,
    PilotActive,
    PilotEnded,
    PilotFailed,
    PilotReady,
    PilotRefused,
    SessionOpened,
    StartPilot,
)
from .._host.program_end import HostProcess
from ..config import RadicalConfig
from .job_end import batch_system, explain_end, find_job
from .places import (
    make_run_folder,
    make_shared_folder,
    path_in_url,
    remove_folders,
    write_overlay,
)
from .plan import PilotPlan

__all__ = ["PilotNodeCheck", "smallest"]

_POLL_S = 0.2
_STATE_POLL_S = 5.0  # between two questions to the batch system
_END_S = 60.0  # for the batch system to be told to cancel the job
_SPARE_MINUTES = 1  # for the job to start its shell


def smallest(config: RadicalConfig, limit_s: float) -> RadicalConfig:
    """Return *config* for a pilot of one node, whose walltime is two steps of *limit_s* long."""
    size: dict[str, int | None] = {"nodes": 1}
    if config.nodes is None and config.cores is not None:
        size = {"cores": 1, "gpus": min(config.gpus, 1) if config.gpus else None}
    minutes = math.ceil(2 * limit_s / 60) + _SPARE_MINUTES
    return config.model_copy(
        update={**size, "walltime": min(config.walltime, minutes), "restart_pilot": 0}
    )


class _Stopped(Exception):  # noqa: N818 - nothing is wrong
    """Nobody waits for the outcome any more."""


class PilotNodeCheck:
    """One pilot, whose job connects to this machine before it starts its agent.

    `run` is called in a thread; `stop` in any other.
    """

    def __init__(
        self, plan: PilotPlan, *, startup_timeout_s: float, tell: Callable[[str], None]
    ) -> None:
        """Prepare a pilot.

        Args:
            startup_timeout_s: how long RADICAL-Pilot may take to submit the job.
            tell: called with a sentence about each step, in the thread of `run`.
        """
        self._plan = plan
        self._startup_timeout_s = startup_timeout_s
        self._tell = tell
        self._system = batch_system(plan.job_manager)
        self._events: queue.SimpleQueue[Event | int | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._folder: Path
        self._check: NodeCheck
        self._host: HostProcess | None = None
        self._session = self._address = self._sandbox = ""
        self._is_queued = self._is_active = False
        self._end = ""  # why the pilot ended
        self._quotes_logs = False

    def stop(self) -> None:
        """Have `run` end the pilot and return."""
        self._stopped.set()

    def run(self, wait_s: float, limit_s: float) -> list[Route]:
        """Submit the pilot, return what its node reached, and end it.

        Raises:
            BackendStartError: there is nothing to return; the text says why.  Logs that it
                quotes stay.
            ConfigurationError: there is no place for the files.
        """
        name = f"doctor-{secrets.token_hex(4)}"
        work_dir = Path(tempfile.gettempdir(), f"asyncflow-{name}")
        self._folder = make_run_folder(work_dir)
        shared = make_shared_folder(self._plan, work_dir, name)
        place = (shared or self._folder) / "node-check"
        place.mkdir()
        with NodeCheck(place) as self._check:
            try:
                return self._submit(wait_s, limit_s)
            except _Stopped:
                return []
            finally:
                self._close()
                if not self._quotes_logs:
                    remove_folders(self._folder, shared, self._sandbox)

    def _submit(self, wait_s: float, limit_s: float) -> list[Route]:
        description = dict(self._plan.description)
        if self._plan.is_local:
            description.setdefault("sandbox", str(self._folder))
        self._host = HostProcess(
            self._folder,
            configs=write_overlay(self._plan, self._folder, node_line=self._check.line),
            has_job=self._plan.is_queued,
            on_events=self._take,
            on_exit=self._events.put,
        )
        never = wait_s + 100 * limit_s  # this object counts the time itself
        self._host.send(
            StartPilot(
                description,
                self._plan.is_queued,
                self._plan.job_manager,
                agent_start_s=never,
                agent_answer_s=never,
            )
        )
        return self._try(wait_s, limit_s)

    def _close(self) -> None:
        """Cancel the job; its process has done so when it ends."""
        if self._host is not None and not self._host.close(_END_S):
            self._tell("the batch system does not answer: a process goes on to cancel the job")

    def _try(self, wait_s: float, limit_s: float) -> list[Route]:
        if self._plan.is_queued:
            self._until(lambda: self._is_queued, self._startup_timeout_s)
            late = f"the job was not submitted within {self._startup_timeout_s:g} s"
            self._expect(self._is_queued, late)
            self._tell(f"waiting for {self._job()} to start, {wait_s:g} s at most")
        sign = self._until_sign(wait_s)
        origin = f"node {sign.node}" + (f", job {sign.job}" if sign.job else "")
        self._tell(f"{origin}: it connects to this machine")
        if sign.problem:
            raise BackendStartError(f"{origin}: its shell could not run Python: {sign.problem}")
        knocks: list[Knock] = []
        self._until(lambda: bool(knocks) or self._read(knocks, origin), limit_s)
        self._expect(bool(knocks), f"{origin} did not say within {limit_s:g} s what it reached")
        routes = self._routes(knocks, origin)
        if not any(route.problem for route in routes if route.used):
            self._tell(f"{origin}: it starts RADICAL-Pilot's agent, {limit_s:g} s at most")
            self._until(lambda: self._is_active, limit_s)
            routes.append(self._agent_route(origin, limit_s))
        return routes

    def _until_sign(self, wait_s: float) -> NodeSign:
        """Wait for the node to run the line, and tell what the batch system says meanwhile."""
        sign = self._check.sign()
        told, next_look_at = "", time.monotonic()

        def is_there() -> bool:
            nonlocal sign, told, next_look_at
            sign = self._check.sign()
            if sign is None and time.monotonic() >= next_look_at:
                next_look_at = time.monotonic() + _STATE_POLL_S
                if (state := self._state()) != told:
                    told = state
                    self._tell(f"{self._job()}: {state}")
            return sign is not None

        self._until(is_there, wait_s)
        if sign is None:
            self._expect(not self._end, self._end)
            state = self._state()
            says = f"; the batch system says: {state}" if state else ""
            raise BackendStartError(
                f"{self._job()} did not run within {wait_s:g} s{says}. Give it longer (--wait), or "
                "a queue that is faster"
            )
        return sign

    def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until *condition* holds, the pilot ends, or time is up.

        Raises:
            BackendStartError: there is no pilot; the text says why.
        """
        deadline = time.monotonic() + seconds
        while not condition() and not self._end and time.monotonic() < deadline:
            if self._stopped.is_set():
                raise _Stopped
            try:
                self._note(self._events.get(timeout=_POLL_S))
            except queue.Empty:
                continue

    def _expect(self, is_so: bool, otherwise: str) -> None:
        """Raise an error with the reason, and the last lines of the logs, unless *is_so*."""
        if not is_so:
            raise BackendStartError(f"{self._end or otherwise}\n{self._logs()}")

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            self._events.put(event)

    def _note(self, event: Event | int | None) -> None:
        match event:
            case SessionOpened(session, _, address):
                self._session, self._address = session, address
                url = urlsplit(address)
                self._check.aim((url.hostname or "", url.port or 0))
            case PilotReady(sandbox):
                self._sandbox, self._is_queued = path_in_url(sandbox), True
            case PilotActive():
                self._is_active = True
            case PilotEnded(state, sandbox, log):
                self._sandbox = path_in_url(sandbox)
                end = explain_end(self._sandbox, self._plan.job_manager)
                told = "; ".join(filter(None, (end.evidence, log)))
                self._end = f"the pilot ended ({state})" + (f": {told}" if told else "")
            case PilotFailed(error, traceback):
                self._end = f"RADICAL-Pilot did not start: {error}\n{traceback}"
            case PilotRefused(unknown, _):
                self._end = f"PilotDescription has no attribute {', '.join(map(repr, unknown))}"
            case int() | None:
                self._end = f"the process that held RADICAL-Pilot ended (exit code {event})"

    def _read(self, knocks: list[Knock], origin: str) -> bool:
        try:
            knocks.extend(self._check.outcome() or ())
        except RuntimeError as error:
            raise BackendStartError(f"{origin}: {error}") from error
        return bool(knocks)

    def _routes(self, knocks: Iterable[Knock], origin: str) -> list[Route]:
        used = urlsplit(self._address).hostname
        others = [knock for knock in knocks if knock.address != used]
        reached = [knock.interface for knock in others if not knock.problem]
        routes = []
        for knock in knocks:
            where = f" ({knock.interface})" if knock.interface else ""
            is_used = knock.address == used
            routes.append(
                Route(
                    address=(self._address if is_used else knock.address) + where,
                    origin=origin,
                    problem=knock.problem,
                    advice=_advice(reached) if is_used and knock.problem else "",
                    used=is_used,
                )
            )
        return routes

    def _agent_route(self, origin: str, limit_s: float) -> Route:
        problem = advice = ""
        if not self._is_active:
            problem = self._end or f"no answer within {limit_s:g} s"
            advice = (
                "If it only needs longer, give it --timeout SECONDS. Else check that no firewall "
                "lets the node reach some ports of this machine and refuses others.\n"
            ) + self._logs()
        return Route(address="RADICAL-Pilot's agent", origin=origin, problem=problem, advice=advice)

    def _job(self) -> str:
        job = find_job(self._sandbox, self._plan.job_manager) if self._sandbox else ""
        return f"job {job}" if job else "the job"

    def _state(self) -> str:
        job = find_job(self._sandbox, self._plan.job_manager) if self._sandbox else ""
        return job_state(job, self._system) if job else ""

    def _logs(self) -> str:
        assert self._host is not None
        self._quotes_logs = True
        session = self._folder / self._session if self._session else None
        return log_tails(self._host.log, session, self._sandbox)


def _advice(reached: list[str]) -> str:
    """Say what to do about an address that the node does not reach, but RADICAL-Pilot uses."""
    check = (
        "Check that no firewall between the nodes and this machine refuses connections, and that "
        "the nodes have a route to this address."
    )
    names = " or ".join(filter(None, reached))
    if not names:
        return f"{check} No other address of this machine was reached either."
    return (
        f"Set RADICAL_DEFAULT_IFACE={names} in the environment of the program: the node reached "
        f"that interface. {check}"
    )
