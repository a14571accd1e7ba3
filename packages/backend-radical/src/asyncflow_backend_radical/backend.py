"""The backend itself: the engine's requests become tasks of a pilot, their states reports."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import threading
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from radical.asyncflow._text import closest
from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import (
    ExecutionBackend,
    ReportSink,
    TaskId,
    TaskRequest,
    TaskSpec,
    closed_error,
)
from radical.asyncflow.config import validate
from radical.asyncflow.errors import (
    BackendStartError,
    ConfigurationError,
    EngineClosedError,
)
from radical.asyncflow.worker import guard

from ._host.logs import tails
from ._host.program_end import Host, Message
from ._pilot.places import BESIDE, path_of, run_folder, shared_folder, write_overlay
from ._pilot.plan import plan_pilot
from ._tasks.submission import check_description, check_kind, check_resources
from ._tasks.tasks import Tasks
from .capabilities import CAPABILITIES
from .errors import PilotLostError

__all__ = ["RadicalExecutionBackend"]

_END = 8.0  # seconds for the host to end a local pilot
_END_QUEUED = 10.0  # the same, where a batch system has to be told
_AGENT = "radical-pilot-agent_0"

_log = logging.getLogger("radical.asyncflow")


class RadicalExecutionBackend(ExecutionBackend):
    """Runs tasks on a pilot of RADICAL-Pilot.

    See ``RadicalConfig`` for what each setting means.  RADICAL-Pilot itself runs in a
    process of its own.

    Args:
        name: how tasks ask for this backend.
        **config: the settings.

    Raises:
        ConfigurationError: names everything that is wrong with the settings, also where
            they do not fit RADICAL-Pilot's configuration of the resource.
    """

    def __init__(self, *, name: str = "radical_pilot", **config: Any) -> None:
        given = {key: value for key, value in config.items() if value is not None}
        values = validate("asyncflow_backend_radical.config:RadicalConfig", given, backend=name)
        self.name = name
        self.capabilities = CAPABILITIES
        self._plan = plan_pilot(values)
        self._startup_timeout: float = values.get("startup_timeout", 300.0)
        self._keep: bool = values.get("keep_sandbox", False)
        self._restarts: int = values.get("restart_pilot", 0)
        self._lock = threading.RLock()
        self._pilot = 0
        self._restarter: threading.Thread | None = None
        self._timer: threading.Timer | None = None
        self._configs: Path | None = None
        self._host: Host | None = None
        self._tasks: Tasks | None = None
        self._sink: ReportSink | None = None
        self._folder: Path | None = None
        self._attributes: Collection[str] = ()
        self._started: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session = ""
        self._sandbox = ""
        self._closed = False
        self._closing = False
        self._failed = False
        self._lost_one = False  # the present pilot is lost, and the next not submitted
        self._end_lock = asyncio.Lock()
        self._ended = False

    def plan(self) -> dict[str, Any]:
        """The pilot that would be submitted; nothing is started.

        ``pilot`` holds the attributes of `radical.pilot.PilotDescription`; ``missing``
        the settings without which the resource would refuse it.
        """
        plan = self._plan
        return {
            "pilot": dict(plan.description),
            "nodes": plan.nodes,
            "cores": plan.cores,
            "gpus": plan.gpus,
            "job_manager": plan.job_manager,
            "queued": plan.queued,
            "missing": list(plan.missing),
        }

    async def start(self, sink: ReportSink) -> None:
        """Submit the pilot; where no queue is involved, wait until it is active.

        Raises:
            BackendStartError: with the last lines of RADICAL-Pilot's logs, and their place.
            ConfigurationError: a setting is missing, or ``pilot`` names no attribute.
        """
        if self._closed:
            raise closed_error(f"backend {self.name!r}")
        if self._host is not None:
            raise BackendStartError(f"backend {self.name!r} was started already")
        self._check_start()
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.create_future()
        guard().acquire()
        try:
            await in_thread(self._begin, sink)
            async with asyncio.timeout(self._startup_timeout):
                await self._started
        except BaseException as exc:
            self._failed = True
            kept = await in_thread(self._abandon)
            if isinstance(exc, TimeoutError):
                raise self._start_error(
                    f"the pilot did not come up within {self._startup_timeout:g} s", kept
                ) from None
            if isinstance(exc, _NotStartedError):
                raise self._start_error(exc.args[0], kept) from None
            raise

    def _check_start(self) -> None:
        plan = self._plan
        label = plan.description["resource"]
        if plan.missing:
            raise ConfigurationError(
                f"resource {label!r} demands {', '.join(plan.missing)}: add it to the config of "
                f"backend {self.name!r}"
            )
        if not plan.filesystem.startswith("file://"):
            raise ConfigurationError(
                f"resource {label!r} is reached by {plan.filesystem!r}: run the program on the "
                "machine itself (its login node) and use an access_schema with a file:// endpoint"
            )
        if not plan.local and (not plan.shared or "$" in plan.shared or "%" in plan.shared):
            raise ConfigurationError(
                f"resource {label!r} keeps its files in {plan.shared!r}, which says nothing here: "
                f"give backend {self.name!r} a sandbox=, a folder that its nodes share"
            )
        agent = Path(sys.executable).parent / _AGENT
        if not agent.exists():
            raise BackendStartError(
                f"RADICAL-Pilot's {_AGENT!r} is not beside this interpreter ({agent.parent}), so "
                "no pilot could start: install radical.pilot into this environment"
            )

    def _begin(self, sink: ReportSink) -> None:
        """Folders, and the first pilot."""
        work_dir = sink.work_dir().absolute()
        folder = self._folder = run_folder(work_dir)
        shared = shared_folder(self._plan, work_dir, f"{sink.uid}.{folder.name}")
        if shared is not None:
            self.shared_dir = shared
        if self._plan.local:
            self._configs = write_overlay(self._plan, folder)
        self._tasks = Tasks(
            shared or folder,
            capture=shared or work_dir,
            report=sink.report,
            plan=self._plan,
        )
        self._submit_pilot()

    def _submit_pilot(self) -> None:
        """A process that holds RADICAL-Pilot, and in it the next pilot."""
        assert self._folder is not None
        assert self._tasks is not None
        description = dict(self._plan.description)
        if self._plan.local:
            description.setdefault("sandbox", str(self._folder))
        with self._lock:
            if self._closing:
                return
            self._pilot += 1
            host = self._host = Host(
                self._folder,
                configs=self._configs,
                outlives=self._plan.queued,
                receive=partial(self._receive, self._pilot),
                gone=partial(self._gone, self._pilot),
            )
        host.send("start", description, self._plan.queued)
        self._tasks.resume(host.send)

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        if self._closed:
            raise closed_error(f"backend {self.name!r}")
        if self._tasks is None:
            raise EngineClosedError(f"backend {self.name!r} was not started")
        self._tasks.submit(batch)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        if self._tasks is not None:
            self._tasks.cancel(task_ids)

    def check(self, spec: TaskSpec) -> None:
        if spec.description:
            check_description(spec, self._attributes)
        check_kind(spec, self._plan, self.name)
        check_resources(spec, self._plan)

    async def shutdown(self, *, cancel: bool = True) -> None:
        """End the pilot; bounded, whatever RADICAL-Pilot does."""
        self._closed = True
        if cancel and self._tasks is not None:
            self._tasks.cancel_all()  # also for another shutdown, which waits for them
        async with self._end_lock:
            if self._ended or self._host is None:
                self._ended = True
                return
            await in_thread(self._finish, cancel)
            self._ended = True

    def _finish(self, cancel: bool) -> None:
        tasks = self._tasks
        assert tasks is not None
        if not cancel:
            tasks.wait()
        with self._lock:
            self._closing = True
            host = self._host
        assert host is not None
        try:
            tasks.close()
            self._stop_restart()
            # Services run on, whatever was waited for.
            if not host.close(True, _END_QUEUED if self._plan.queued else _END):
                self._failed = True
                _log.warning(
                    "backend %r: the batch system has not yet been told to cancel the pilot's job; "
                    "a process that outlives this one goes on trying (%s)",
                    self.name,
                    host.log,
                )
        finally:
            tasks.give_up()
            self._clean()
            guard().release()

    def _abandon(self) -> str:
        """Undo a start that failed; the last lines of the logs."""
        with self._lock:
            self._closing = True
        text = ""
        try:
            if self._host is not None:
                text = tails(self._host.log, self._session_folder(), self._sandbox)
                if self._plan.queued:  # there may be a job already
                    self._host.close(True, _END_QUEUED)
                self._host.kill(gently=True)
        finally:
            if self._tasks is not None:
                self._tasks.close()
            self._ended = True
            guard().release()
        return text

    def _stop_restart(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._restarter is not None:
            self._restarter.join(_END)

    def _clean(self) -> None:
        """Remove RADICAL-Pilot's files, unless somebody will want to read them."""
        if self._keep or self._failed or self._folder is None:
            return
        if self.shared_dir is not None:
            shutil.rmtree(self.shared_dir, ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):
            if self._folder.parent.name.endswith(BESIDE):
                self._folder.parent.rmdir()  # unless another backend keeps something there
        if self._sandbox:
            session = Path(self._sandbox).parent
            shutil.rmtree(session, ignore_errors=True)
            counters = session.parent / ".radical/utils" / session.name
            shutil.rmtree(counters, ignore_errors=True)

    def _session_folder(self) -> Path | None:
        return self._folder / self._session if self._folder and self._session else None

    # What the host says, in its reading thread.

    def _receive(self, pilot: int, batch: list[Message]) -> None:
        for verb, *values in batch:
            if pilot == self._pilot and not self._lost_one:
                getattr(self, f"_on_{verb}")(*values)

    def _on_attributes(self, names: list[str]) -> None:
        self._attributes = names

    def _on_session(self, uid: str) -> None:
        self._session = uid

    def _on_refused(self, wrong: list[str], known: list[str]) -> None:
        hints = "; ".join(f"{key!r}{closest(key, known)}" for key in wrong)
        self._settle(
            ConfigurationError(
                f"config of backend {self.name!r}: pilot: PilotDescription has no attribute {hints}"
            )
        )

    def _on_failed(self, text: str, traceback: str) -> None:
        what = f"RADICAL-Pilot did not start: {text}\n{traceback}"
        if self._settled():
            self._lose("FAILED", what)
        else:
            self._settle(_NotStartedError(what))

    def _on_ready(self, sandbox: str) -> None:
        self._sandbox = path_of(sandbox)
        if self._timer is not None:
            self._timer.cancel()
        self._settle(None)

    def _on_states(self, rows: list[tuple[str, str, int | None, str]]) -> None:
        assert self._tasks is not None
        self._tasks.states(rows)

    def _on_pilot(self, state: str, sandbox: str, log: str) -> None:
        self._sandbox = path_of(sandbox)
        if self._started is not None and not self._settled():
            self._settle(_NotStartedError(f"the pilot ended in state {state} before it was active"))
        elif not self._closing:
            self._lose(state, log)

    def _gone(self, pilot: int, code: int) -> None:
        if self._closing or pilot != self._pilot or self._lost_one:
            return
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        if not self._settled():
            self._settle(_NotStartedError(f"the process that held RADICAL-Pilot ended ({how})"))
        else:
            self._lose("LOST", how)

    def _lose(self, state: str, detail: str) -> None:
        """The pilot is gone; the next one takes over, or all is lost."""
        assert self._sink is not None
        assert self._tasks is not None
        with self._lock:
            if self._closing or self._lost_one:
                return
            self._lost_one = self._failed = True
            again = self._restarts > 0
            self._restarts -= again
        error = PilotLostError(state, self._sandbox or str(self._folder), detail)
        if not again:
            self._tasks.forget()
            self._sink.lost(error)
            return
        _log.warning("backend %r: %s; the next pilot takes over", self.name, error)
        self._tasks.lost(error)
        self._restarter = threading.Thread(
            target=self._restart, name="asyncflow-radical", daemon=True
        )
        self._restarter.start()

    def _restart(self) -> None:
        """End what the lost pilot left, and submit the next one when there is a task for it."""
        assert self._host is not None
        assert self._tasks is not None
        self._host.kill()
        if not self._tasks.wait_for_one():
            return
        self._lost_one = False
        self._timer = threading.Timer(self._startup_timeout, self._too_late, [self._pilot + 1])
        self._timer.daemon = True
        self._timer.start()
        try:
            self._submit_pilot()
        except Exception as exc:
            _log.exception("backend %r: the next pilot could not be submitted", self.name)
            self._lose("FAILED", f"{type(exc).__name__}: {exc}")

    def _too_late(self, pilot: int) -> None:
        if pilot == self._pilot:
            self._lose("FAILED", f"the next one did not come up in {self._startup_timeout:g} s")

    def _settled(self) -> bool:
        return getattr(self, "_outcome_known", False)

    def _settle(self, error: BaseException | None) -> None:
        self._outcome_known = True
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop was closed without waiting for us
            self._loop.call_soon_threadsafe(self._set_started, error)

    def _set_started(self, error: BaseException | None) -> None:
        started = self._started
        if started is not None and not started.done():
            if error is None:
                started.set_result(None)
            else:
                started.set_exception(error)

    def _start_error(self, what: str, logs: str) -> BackendStartError:
        return BackendStartError(
            f"backend {self.name!r} on {self._plan.description['resource']!r}: {what}\n{logs}"
        )


class _NotStartedError(Exception):
    """What keeps the pilot from coming up."""
