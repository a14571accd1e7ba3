"""The backend itself: the asyncio side of the slots."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import (
    ExecutionBackend,
    ReportSink,
    TaskId,
    TaskKind,
    TaskRequest,
    TaskSpec,
)
from radical.asyncflow.config import validate
from radical.asyncflow.errors import ConfigurationError, UnsupportedOptionError
from radical.asyncflow.model import DEFAULT_RESOURCES
from radical.asyncflow.worker import (
    Codes,
    Gpu,
    core_order,
    found_gpus,
    guard,
    is_async,
    keep_output,
    missing_gpus,
    usable_cores,
    usable_memory,
)

from ._coroutines.coroutines import Coroutines
from ._executors.given import GivenExecutor, runs_here
from ._slots.places import CorePlaces
from ._slots.process_slot import ProcessSlot
from ._slots.ranks import Ranks
from ._slots.resources import MachineResources
from ._slots.slot import Slot
from ._slots.slots import Slots
from ._slots.warm import WarmWorkers
from .capabilities import executor_capabilities, local_capabilities

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait, Written

    from .config import ConcurrentConfig

__all__ = ["ConcurrentExecutionBackend"]

_STUCK_S = 0.5  # that a cancelled function may run on, until another thread takes its place
_MOST_COROUTINES = 1000
_ABANDON_S = 3.0  # beyond the grace, until work that does not end is abandoned


class _Settings(TypedDict, total=False):
    """The keywords of the constructor; `ConcurrentConfig` has their meaning and defaults."""

    max_workers: int | None
    executor_type: Literal["thread", "process", "async"] | None
    gpus: int | Sequence[Gpu] | None
    gpu_idle_timeout: float | None
    memory: int | str | None
    grace: float | None
    bind: bool | None
    mpi_launcher: str | None
    forward_logs: bool | None
    shutdown_executor: bool | None


class ConcurrentExecutionBackend(ExecutionBackend):
    """A backend that runs tasks on this machine.

    Functions run in threads, in processes, in an event loop or on a given executor.  Each
    executable runs in a process group of its own; ``max_workers`` limits executables and
    functions together.  With ``executor_type="async"`` it limits the async functions, which
    wait in one event loop; executables and other functions run beside them as in threads, at
    most as many as there are cores.

    Args:
        executor: a `concurrent.futures.Executor` for the functions, used as it is and
            shut down with the backend unless ``shutdown_executor=False``.  Or the settings,
            as a ``ConcurrentConfig`` or a mapping.
        name: how tasks ask for this backend.
        **settings: the other settings of ``ConcurrentConfig``, which describes them; one
            that is None has its default.

    Raises:
        ConfigurationError: names everything that is wrong with the settings.
    """

    def __init__(
        self,
        executor: Executor | ConcurrentConfig | Mapping[str, Any] | None = None,
        *,
        name: str = "concurrent",
        **settings: Unpack[_Settings],
    ) -> None:
        # Imported when a backend is made: it needs pydantic.
        from .config import ConcurrentConfig

        complete = executor if isinstance(executor, ConcurrentConfig | Mapping) else None
        given = {key: value for key, value in settings.items() if value is not None}
        if complete is None and executor is not None:
            given["executor"] = executor
        config = validate(ConcurrentConfig, complete, given, backend=name)
        self.name = name
        self._executor = config.executor
        self._shuts_executor = config.shutdown_executor
        self._executor_type = config.executor_type
        self._grace = config.grace
        self._places = CorePlaces(core_order()) if config.bind else None
        slots = config.max_workers
        if config.executor is not None:
            self.capabilities = executor_capabilities(threads=runs_here(config.executor))
            slots = slots or getattr(config.executor, "_max_workers", None)
        else:
            self.capabilities = local_capabilities(config.executor_type)
        self._most_coroutines = 0
        if config.executor_type == "async":
            self._most_coroutines = slots or _MOST_COROUTINES
            slots = min(self._most_coroutines, usable_cores())
        memory = config.memory or usable_memory()
        find_gpus = partial(_gpu_ids, config.gpus, name)
        if config.gpus:
            find_gpus()  # an error is raised here
        self._resources = MachineResources(
            slots := slots or usable_cores(),
            memory,
            find_gpus,
            WarmWorkers(config.gpu_idle_timeout),
            Ranks(config.mpi_launcher, slots=slots, grace=config.grace),
        )
        self._slots: Slots | None = None
        self._given: GivenExecutor | None = None
        self._coroutines: Coroutines | None = None
        self._lock = threading.Lock()
        self._released = False
        self._forwards_logs = config.forward_logs
        self._ignore_output: Callable[[], None] | None = None

    @property
    def max_workers(self) -> int:
        """The number of tasks that run at once; of async functions, if they have a loop."""
        return self._most_coroutines or self._resources.slots

    def capacity(self) -> int | None:
        """Return the number of slots; None if a given executor has the functions."""
        return self.max_workers if self._executor is None else None

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        guard().acquire()
        if sink.keeps_output and self._executor_type != "process":
            self._ignore_output = keep_output()
        self._slots = Slots(self._resources, sink, self._slot_maker(), name=self.name)
        if self._executor is not None:
            self._given = GivenExecutor(self._executor, sink)
        if self._most_coroutines:
            self._coroutines = Coroutines(
                sink, name=self.name, limit=self._most_coroutines, grace=self._grace
            )

    def _slot_maker(self) -> Callable[[Slots, int], Slot]:
        warm, ranks = self._resources.warm, self._resources.ranks
        settings: dict[str, Any] = {
            "name": self.name,
            "grace": self._grace,
            "places": self._places,
            "ranks": ranks,
        }
        if self._executor_type != "process":
            return partial(Slot, **settings)
        settings["forwards_logs"] = self._forwards_logs
        return partial(ProcessSlot, **settings, codes=Codes(), warm=warm)

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        slots = self._slots
        assert slots is not None
        if self._coroutines is not None:
            waits = [request for request in batch if _has_loop(request.spec)]
            if waits:
                self._coroutines.submit(waits)
                batch = [request for request in batch if not _has_loop(request.spec)]
        elif self._given is not None:
            for request in batch:
                if request.spec.kind is TaskKind.FUNCTION:
                    self._given.submit(request)
            batch = [request for request in batch if request.spec.kind is not TaskKind.FUNCTION]
        if batch:
            slots.submit(batch)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        if self._given is not None:
            self._given.cancel(task_ids)
        if self._coroutines is not None:
            self._coroutines.cancel(task_ids)
        slots = self._slots
        if slots is not None and slots.cancel(task_ids):
            asyncio.get_running_loop().call_later(_STUCK_S, slots.relieve, frozenset(task_ids))

    def waits(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Wait]:
        parts = (self._given, self._coroutines, self._slots)
        found: dict[TaskId, Wait] = {}
        for part in parts:
            if part is not None:
                found.update(part.waits(task_ids))
        return found

    async def written(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Written]:
        return {} if self._slots is None else self._slots.written(task_ids)

    def check(self, spec: TaskSpec) -> None:
        super().check(spec)
        if self._most_coroutines and _has_loop(spec) and spec.resources != DEFAULT_RESOURCES:
            raise UnsupportedOptionError(
                f"task {spec.name!r}: on backend {self.name!r} async functions share one thread "
                "(executor_type='async'), so they get no resources: leave them out, write a "
                "plain function, or give the task another backend="
            )
        self._resources.check(spec.name, spec.resources)
        self._resources.ranks.check(spec)

    async def shutdown(self, *, cancel: bool = True) -> None:
        """End; abandon a function that does not return within the grace and 3 s more."""
        await super().shutdown(cancel=cancel)
        if self._slots is not None:
            self._slots.close(cancel=cancel)
        if self._coroutines is not None:
            self._coroutines.close(cancel=cancel)
        await in_thread(self._finish, cancel)

    def _finish(self, cancel: bool) -> None:
        patience = self._grace + _ABANDON_S if cancel else None
        try:
            if self._given is not None:
                self._given.wait(cancel=cancel, shutdown=self._shuts_executor, patience=patience)
            elif self._coroutines is not None:
                self._coroutines.wait(patience)
            elif self._executor is not None and self._shuts_executor:
                self._executor.shutdown()
        finally:
            if self._slots is not None:
                self._slots.wait(patience)
                with self._lock:
                    released, self._released = self._released, True
                if not released:
                    guard().release()
                    if self._ignore_output is not None:
                        self._ignore_output()


def _has_loop(spec: TaskSpec) -> bool:
    """Tell whether a backend that has a loop runs the task there."""
    return spec.kind is TaskKind.FUNCTION and is_async(spec.function)


def _gpu_ids(gpus: int | Sequence[Gpu] | None, backend: str) -> tuple[Gpu, ...]:
    """Return the GPUs that a setting asks for.

    Raises:
        ConfigurationError: it asks for more than this process may use.
    """
    if gpus is not None and not isinstance(gpus, int):
        if missing := missing_gpus(gpus):
            raise ConfigurationError(
                f"backend {backend!r}: gpus names {', '.join(map(repr, missing))}, which this "
                f"machine does not have ({found_gpus().how})"
            )
        return tuple(gpus)
    if gpus == 0:
        return ()
    found = found_gpus()
    if gpus is None:
        return found.ids
    if not found.is_known:
        return tuple(range(gpus))
    if len(found.ids) < gpus:
        raise ConfigurationError(
            f"backend {backend!r}: gpus is {gpus}, but there are only {len(found.ids)} to use "
            f"({found.how}): ask for fewer, or name them as a list"
        )
    return found.ids[:gpus]
