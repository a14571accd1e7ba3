"""The backend itself: it starts the pilots, and hands the engine's requests to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import (
    ExecutionBackend,
    ReportSink,
    Route,
    TaskId,
    TaskRequest,
    TaskSpec,
)
from radical.asyncflow.config import validate
from radical.asyncflow.errors import BackendStartError, ConfigurationError
from radical.asyncflow.worker import guard

from ._pilot.node_check import PilotNodeCheck, smallest
from ._pilot.places import make_run_folder, make_shared_folder, remove_folders, write_overlay
from ._pilot.plan import check_plan, plan_pilot
from ._pilot.series import PilotSeries
from ._tasks.submission import check_description, check_kind, check_resources
from ._tasks.tasks import Tasks
from ._tasks.traces import Traces
from .capabilities import CAPABILITIES

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait, Written

    from .config import RadicalConfig

__all__ = ["RadicalExecutionBackend"]

_log = logging.getLogger("radical.asyncflow")


class RadicalExecutionBackend(ExecutionBackend):
    """A backend that runs tasks on a pilot of RADICAL-Pilot.

    RADICAL-Pilot itself runs in a process of its own.

    Args:
        config: all settings, as ``RadicalConfig`` or as a mapping.
        raptor_config: an argument of the public package that has no counterpart.
        name: how tasks ask for this backend.
        **settings: settings of ``RadicalConfig``, which describes them; one that is None
            has its default.

    Raises:
        ConfigurationError: names everything that is wrong with the settings, or does not fit
            RADICAL-Pilot's configuration of the resource.
    """

    def __init__(
        self,
        config: RadicalConfig | Mapping[str, Any] | None = None,
        raptor_config: object = None,
        *,
        name: str = "radical_pilot",
        **settings: Any,
    ) -> None:
        # Imported when a backend is made: it needs pydantic.
        from .config import RadicalConfig, of_public_package

        if raptor_config is not None:
            raise ConfigurationError(
                "raptor_config: leave it out, functions run without it; raptor={...} sizes the "
                "workers that run them"
            )
        if isinstance(config, Mapping):
            config = of_public_package(config)
        given = {key: value for key, value in settings.items() if value is not None}
        self.name = name
        self.capabilities = CAPABILITIES
        self._config = validate(RadicalConfig, config, given, backend=name)
        self._plan = plan_pilot(self._config)
        self._folder: Path | None = None
        self._tasks: Tasks | None = None
        self._pilots: PilotSeries | None = None
        self._end_lock = asyncio.Lock()
        self._has_ended = False

    def plan(self) -> dict[str, Any]:
        """Return the pilot that would be submitted; nothing is started.

        ``pilot`` holds the attributes of `radical.pilot.PilotDescription`; ``missing`` names
        the settings without which the resource would refuse it.
        """
        plan = self._plan
        return {
            "pilot": dict(plan.description),
            "nodes": plan.nodes,
            "cores": plan.cores,
            "gpus": plan.gpus,
            "job_manager": plan.job_manager,
            "queued": plan.is_queued,
            "missing": list(plan.missing),
        }

    def capacity(self) -> int | None:
        """Return the number of cores of the pilot; None if the sizes of its nodes are unknown."""
        return self._plan.cores or None

    async def check_from_node(
        self, *, wait: float, limit: float, tell: Callable[[str], None]
    ) -> Sequence[Route]:
        """Submit a pilot of one node, have its job connect to this machine, and cancel it."""
        plan = plan_pilot(smallest(self._config, limit))
        check_plan(plan, self.name)
        loop = asyncio.get_running_loop()

        def tell_in_loop(text: str) -> None:
            loop.call_soon_threadsafe(tell, text)

        guard().acquire()
        trial = PilotNodeCheck(
            plan,
            startup_timeout_s=self._config.startup_timeout,
            tell=tell_in_loop,
        )
        running = asyncio.create_task(in_thread(trial.run, wait, limit))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            trial.stop()
            await asyncio.wait([running])
            raise
        finally:
            await in_thread(guard().release)

    async def start(self, sink: ReportSink) -> None:
        """Submit the pilot; where there is no queue, wait until it is active.

        Raises:
            BackendStartError: the pilot does not come up; the text has the place and the
                last lines of RADICAL-Pilot's logs.
            ConfigurationError: a setting is missing, or ``pilot`` has an unknown attribute.
        """
        await super().start(sink)
        check_plan(self._plan, self.name)
        guard().acquire()
        beginning = asyncio.create_task(in_thread(self._begin, sink))
        try:
            async with self._end_lock:  # a shutdown waits until there is something to end
                pilots = await asyncio.shield(beginning)
            await asyncio.wrap_future(pilots.started)
        except BaseException as exc:
            await asyncio.wait([beginning])
            logs = await self._abandon()
            if isinstance(exc, BackendStartError):
                raise BackendStartError(
                    f"backend {self.name!r} on {self._plan.label!r}: {exc}\n{logs}"
                ) from None
            raise

    def _begin(self, sink: ReportSink) -> PilotSeries:
        """Make the folders, and submit the first pilot."""
        work_dir = sink.work_dir().absolute()
        folder = self._folder = make_run_folder(work_dir)
        shared = make_shared_folder(self._plan, work_dir, f"{sink.uid}.{folder.name}")
        if shared is not None:
            self.shared_dir = shared
        tasks = self._tasks = Tasks(
            shared or folder,
            capture=shared or work_dir,
            report=sink.report,
            serving=sink.serving,
            traces=Traces.of(sink, forward_logs=self._config.forward_logs),
            plan=self._plan,
        )
        pilots = self._pilots = PilotSeries(
            self._plan,
            folder,
            tasks,
            backend=self.name,
            configs=write_overlay(self._plan, folder),
            replacements=self._config.restart_pilot,
            startup_timeout_s=self._config.startup_timeout,
            agent_timeout_s=self._config.agent_timeout,
            report_lost=sink.lost,
        )
        pilots.submit_next()
        return pilots

    async def _abandon(self) -> str:
        """Undo a start that failed; return where the logs are, and their last lines."""
        async with self._end_lock:
            if self._has_ended:  # a shutdown was faster
                return ""
            self._has_ended = True
            try:
                return "" if self._pilots is None else await in_thread(self._pilots.abandon)
            finally:
                await in_thread(guard().release)

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        assert self._tasks is not None
        self._tasks.submit(batch)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        if self._tasks is not None:
            self._tasks.cancel(task_ids)

    def waits(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Wait]:
        if self._tasks is None or self._pilots is None:
            return {}
        holdup = self._pilots.holdup()
        if holdup is None:
            return self._tasks.waits(frozenset(task_ids), self.name)
        return dict.fromkeys(self._tasks.unbegun(frozenset(task_ids)), holdup)

    async def written(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Written]:
        return {} if self._tasks is None else self._tasks.written(task_ids)

    def check(self, spec: TaskSpec) -> None:
        if spec.description:
            known = () if self._pilots is None else self._pilots.task_attributes
            check_description(spec, known)
        check_kind(spec, self._plan, self.name)
        check_resources(spec, self._plan)

    async def shutdown(self, *, cancel: bool = True) -> None:
        """End the pilot in bounded time, whatever RADICAL-Pilot does."""
        await super().shutdown(cancel=cancel)
        if cancel and self._tasks is not None:
            self._tasks.cancel_all()  # before the lock: another shutdown may wait for them
        async with self._end_lock:
            if self._has_ended or self._pilots is None:
                return
            self._has_ended = True
            await in_thread(self._finish, cancel)

    def _finish(self, cancel: bool) -> None:
        tasks, pilots, folder = self._tasks, self._pilots, self._folder
        assert tasks is not None
        assert pilots is not None
        assert folder is not None
        if not cancel:
            tasks.wait()  # not for services, which run on until the end
        is_clean = not self._config.keep_sandbox
        try:
            if not pilots.close():
                is_clean = False
                _log.warning(
                    "backend %r: the batch system does not yet know that the pilot's job is to be "
                    "cancelled; a process that outlives this program goes on trying (logs: %s)",
                    self.name,
                    folder,
                )
        finally:
            tasks.cancel_rest()
            if is_clean and not pilots.has_failed:
                remove_folders(folder, self.shared_dir, pilots.sandbox)
            guard().release()
