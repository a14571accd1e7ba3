"""The backend whose own class runs in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from ..._public import public
from ..._reference import is_reference
from ...aside import in_thread
from ...errors import BackendStartError
from .._contract import ExecutionBackend, ReportSink, TaskId, TaskRequest
from .guest import Started
from .outside import Outside

if TYPE_CHECKING:
    from .._waits import Wait

__all__ = ["OutOfProcessBackend"]


@public("radical.asyncflow.backend")
class OutOfProcessBackend(ExecutionBackend):
    """A backend that runs in a process of its own, where it can harm nothing in the program.

    A subclass names the class of the real backend, its *guest*, which is an `ExecutionBackend`
    like any other and is imported in the process alone::

        class MyBackend(OutOfProcessBackend):
            guest = "my_package.runtime:MyRuntime"
            capabilities = CAPABILITIES

    The guest is made there by its ``from_settings``, and gets the calls of the engine in the main
    thread, in a loop of its own.  When the process ends, the backend is lost: the tasks that had
    begun fail with a `BackendLostError`, and the others are handed to the engine as not begun.

    Attributes:
        guest: ``"module:Class"``.
        start_limit_s: how long the interpreter may take to start, and then the guest.
        end_limit_s: how long the guest's `shutdown` may take when no task is left to finish;
            the process is killed then.
        keeps_log: keep what the process printed, in the folder of the run; after a loss it is
            kept anyway.
        python: the interpreter of the process; None for that of this program.

    Args:
        settings: what the guest is made from; must be picklable.  A field ``python`` names the
            interpreter.
        name: how tasks ask for this backend.
        python: the same, if it is not among the settings.
    """

    guest: ClassVar[str] = ""
    start_limit_s: ClassVar[float] = 60.0
    end_limit_s: ClassVar[float] = 10.0
    keeps_log: ClassVar[bool] = False

    def __init__(self, settings: Any = None, *, name: str, python: str | None = None) -> None:
        if not (isinstance(self.guest, str) and is_reference(self.guest) and ":" in self.guest):
            raise TypeError(
                f"{type(self).__qualname__}.guest must name a class as 'module:Class', "
                f"not {self.guest!r}"
            )
        self.name = name
        self.python = python or getattr(settings, "python", None)
        self._settings = settings
        self._outside: Outside | None = None
        self._ending: asyncio.Task[None] | None = None
        self._is_up = False
        self._has_tried = asyncio.Event()  # a start is over, whatever came of it

    def unbegun(self, task_ids: Collection[TaskId]) -> Collection[TaskId]:
        """Return which of *task_ids* have certainly not begun; asked when the process is lost.

        They are the tasks of which the guest had reported nothing, and all that it started has
        been killed.  Override it if the guest cannot report a task before that begins.
        """
        return task_ids

    async def start(self, sink: ReportSink) -> None:
        """Start the process, and the guest in it.

        Raises:
            BackendStartError: the interpreter does not start, or does not fit this program: it
                has another version of the core or of the plugin, or of Python where functions
                travel.  Or the guest does not come up.
        """
        await super().start(sink)
        outside = self._outside = Outside(
            self.name, sink, unbegun=self.unbegun, capabilities=self.capabilities
        )
        beginning = asyncio.ensure_future(
            in_thread(
                lambda: outside.start(
                    self.guest, self._settings, python=self.python, limit_s=self.start_limit_s
                )
            )
        )
        try:
            started = await asyncio.shield(beginning)
        except BaseException as error:
            words = outside.last_words()
            # A task of its own, so that a second cancellation does not interrupt it.
            await asyncio.shield(asyncio.ensure_future(self._undo(outside, beginning)))
            if isinstance(error, BackendStartError) and words and words not in str(error):
                raise BackendStartError(f"{error}{words}") from error.__cause__
            raise
        self.capabilities = replace(started.capabilities, pickles=True, contexts=False)
        if started.shared_dir is not None:
            self.shared_dir = started.shared_dir
        self._is_up = True
        self._has_tried.set()

    async def _undo(self, outside: Outside, beginning: asyncio.Future[Started]) -> None:
        """Undo a start that failed or was cancelled."""
        try:
            await in_thread(outside.stop_start)
            await asyncio.wait([beginning])
            beginning.exception()  # a start that is cancelled raises something else
            await in_thread(outside.abandon)
        finally:
            self._outside = None
            self._has_tried.set()

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        assert self._outside is not None
        self._outside.submit(batch)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        if self._outside is not None:
            self._outside.cancel(task_ids)

    def waits(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Wait]:
        waits: Mapping[TaskId, Wait] = {}
        return waits if self._outside is None else self._outside.waits(task_ids)

    def capacity(self) -> int | None:
        """Return what the guest said last, and ask it anew for the next call."""
        if self._outside is None or not self._is_up:
            return None
        self._outside.ask_capacity()
        return self._outside.capacity

    async def shutdown(self, *, cancel: bool = True) -> None:
        """End the guest and its process in bounded time, whatever it does."""
        await super().shutdown(cancel=cancel)
        outside = self._outside
        if outside is None:
            return
        if not self._is_up:  # its start goes on, and ends with this
            await in_thread(outside.stop_start)
            await self._has_tried.wait()
            return
        if cancel:
            outside.cancel_all()  # also if an earlier call waits for the tasks
        if self._ending is None:
            self._ending = asyncio.ensure_future(
                in_thread(
                    lambda: outside.finish(limit_s=self.end_limit_s, keeps_log=self.keeps_log)
                )
            )
        await asyncio.shield(self._ending)
