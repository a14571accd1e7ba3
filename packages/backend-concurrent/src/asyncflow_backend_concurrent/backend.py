"""The backend itself: the asyncio side of the slots."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from typing import Any, Literal

from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import (
    ExecutionBackend,
    ReportSink,
    TaskId,
    TaskKind,
    TaskRequest,
    TaskSpec,
    closed_error,
)
from radical.asyncflow.config import validate
from radical.asyncflow.errors import BackendStartError, EngineClosedError
from radical.asyncflow.worker import Codes, guard

from ._executors.given import ForeignExecutor, runs_here
from ._slots.process_slot import ProcessSlot
from ._slots.resources import Ledger, machine_cores, machine_memory, visible_gpus
from ._slots.slot import Slot
from ._slots.slots import Slots
from .capabilities import executor_capabilities, local_capabilities

__all__ = ["ConcurrentExecutionBackend"]

_PATIENCE = 3.0  # seconds beyond the grace until what does not end is abandoned


class ConcurrentExecutionBackend(ExecutionBackend):
    """Runs tasks on this machine: in threads, in processes, or on a given executor.

    Executables run in process groups of their own; ``max_workers`` bounds them and the
    functions together.  See ``ConcurrentConfig`` for what each setting means.

    Args:
        executor: a `concurrent.futures.Executor` for the functions.  It is used as it
            is, and shut down with the backend unless ``shutdown_executor=False``.
        name: how tasks ask for this backend.
        max_workers: how many tasks run at once; the machine's cores by default.
        executor_type: ``"thread"`` or ``"process"``.
        gpus: how many, or their ids; by default those in ``CUDA_VISIBLE_DEVICES``.
        memory: bytes that the tasks may ask for together; the machine's by default.
        grace: seconds between SIGTERM and SIGKILL.

    Raises:
        ConfigurationError: names everything that is wrong with the settings.
    """

    def __init__(
        self,
        executor: Executor | None = None,
        *,
        name: str = "concurrent",
        max_workers: int | None = None,
        executor_type: Literal["thread", "process"] | None = None,
        gpus: int | Sequence[int] | None = None,
        memory: int | str | None = None,
        grace: float = 5.0,
        shutdown_executor: bool | None = None,
        **unknown: Any,
    ) -> None:
        given = {
            "executor": executor,
            "max_workers": max_workers,
            "executor_type": executor_type,
            "gpus": list(gpus) if isinstance(gpus, tuple | range) else gpus,
            "memory": memory,
            "grace": grace,
            "shutdown_executor": shutdown_executor,
        }
        given = {key: value for key, value in given.items() if value is not None}
        config = validate(
            "asyncflow_backend_concurrent.config:ConcurrentConfig", given | unknown, backend=name
        )
        self.name = name
        self._executor = executor
        self._shuts_executor = config.get("shutdown_executor", True)
        self._executor_type: str = config.get("executor_type", "thread")
        self._grace: float = config["grace"]
        if executor is not None:
            self.capabilities = executor_capabilities(threads=runs_here(executor))
            max_workers = max_workers or getattr(executor, "_max_workers", None)
        else:
            self.capabilities = local_capabilities(self._executor_type)
        ids = config.get("gpus", visible_gpus())
        if isinstance(ids, int):
            visible = visible_gpus()
            ids = visible[:ids] if len(visible) >= ids else range(ids)
        memory = config.get("memory") or machine_memory()
        self._ledger = Ledger(max_workers or machine_cores(), memory, tuple(ids))
        self._slots: Slots | None = None
        self._foreign: ForeignExecutor | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._released = False

    @property
    def max_workers(self) -> int:
        return self._ledger.slots

    async def start(self, sink: ReportSink) -> None:
        if self._closed:
            raise closed_error(f"backend {self.name!r}")
        if self._slots is not None:
            raise BackendStartError(f"backend {self.name!r} was started already")
        guard().acquire()
        self._slots = Slots(self._ledger, sink, self._slot_maker())
        if self._executor is not None:
            self._foreign = ForeignExecutor(self._executor, sink)

    def _slot_maker(self) -> Callable[[Slots, int], Slot]:
        name, grace = self.name, self._grace
        if self._executor_type == "thread":
            return lambda slots, number: Slot(slots, number, name=name, grace=grace)
        codes = Codes()
        return lambda slots, number: ProcessSlot(slots, number, name=name, grace=grace, codes=codes)

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        slots = self._slots
        if slots is None or self._closed:
            if self._closed:
                raise closed_error(f"backend {self.name!r}")
            raise EngineClosedError(f"backend {self.name!r} was not started")
        foreign = self._foreign
        if foreign is None:
            slots.submit(batch)
            return
        commands: list[TaskRequest] = []
        for request in batch:
            if request.spec.kind is TaskKind.FUNCTION:
                foreign.submit(request)
            else:
                commands.append(request)
        if commands:
            slots.submit(commands)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        if self._foreign is not None:
            self._foreign.cancel(task_ids)
        if self._slots is not None:
            self._slots.cancel(task_ids)

    def check(self, spec: TaskSpec) -> None:
        super().check(spec)
        self._ledger.check(spec.name, spec.resources)

    async def shutdown(self, *, cancel: bool = True) -> None:
        """End; a function that does not return within the grace and 3 s is abandoned."""
        self._closed = True
        if self._slots is not None:
            self._slots.close(cancel=cancel)
        await in_thread(self._finish, cancel)

    def _finish(self, cancel: bool) -> None:
        patience = self._grace + _PATIENCE if cancel else None
        try:
            if self._foreign is not None:
                self._foreign.wait(cancel=cancel, shutdown=self._shuts_executor, patience=patience)
            elif self._executor is not None and self._shuts_executor:
                self._executor.shutdown()
        finally:
            if self._slots is not None:
                self._slots.wait(patience)
                with self._lock:
                    released, self._released = self._released, True
                if not released:
                    guard().release()
