"""A backend that runs tasks on a backend of RHAPSODY."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from radical.asyncflow.aside import in_thread
from radical.asyncflow.backend import ExecutionBackend, ReportSink, TaskId, TaskRequest
from radical.asyncflow.config import validate
from radical.asyncflow.errors import AsyncFlowError, BackendLostError, BackendStartError
from radical.asyncflow.worker import safe_str

from ._desk import Desk, Held
from ._foreign import Foreign, field_of
from ._home import Home, LoopOfEngine, LoopOfItsOwn
from ._orders import Markers, Orders, Programs
from ._runners import Runners
from .config import RhapsodyConfig

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait

__all__ = ["RhapsodyExecutionBackend"]

_log = logging.getLogger("radical.asyncflow")

DOWN_S = 10.0
"""Seconds that RHAPSODY's backend may take to shut down when nothing runs on it."""
LATE_S = 1.0
"""The same when a function does not return, which it may wait for without end."""
LOOK_S = 0.005
"""Seconds between two looks whether all tasks have ended."""


class RhapsodyExecutionBackend(ExecutionBackend):
    """A backend that runs tasks on a backend of RHAPSODY.

    RHAPSODY's backend lives in an event loop of its own, in a thread of its own, so that nothing
    which blocks there holds up the program.  One that the program itself made (`of`) lives
    in the loop of the engine, because it was made there.

    Args:
        settings: a `RhapsodyConfig`, or a mapping of its fields.
        more: fields as keywords.

    Raises:
        BackendNotFoundError: RHAPSODY has no such backend, or something is not installed.
        ConfigurationError: the settings are wrong.
    """

    def __init__(
        self,
        settings: RhapsodyConfig | Mapping[str, Any] | None = None,
        *,
        name: str = "rhapsody",
        **more: Any,
    ) -> None:
        self._settings = validate(RhapsodyConfig, settings, more, backend=name)
        self._take(Foreign.named(self._settings), name)

    @classmethod
    def of(cls, backend: Any, *, name: str | None = None) -> Self:
        """Return a backend that runs tasks on *backend*, an object of RHAPSODY.

        It is awaited when the engine starts, if it was not before, and shut down with the
        engine.  Make it in the loop of the engine.
        """
        self = cls.__new__(cls)
        self._settings = RhapsodyConfig()
        self._take(Foreign.given(backend), name or str(backend.name))
        return self

    def _take(self, foreign: Foreign, name: str) -> None:
        self.name = name
        self.capabilities = foreign.way.capabilities
        self._foreign = foreign
        self._home: Home | None = None
        self._object: Any = None
        self._desk: Desk | None = None
        self._carrier: Runners | Orders | None = None
        self._terminal: dict[Any, str] = {}
        self._hurried: float | None = None
        self._closing = asyncio.Lock()

    def capacity(self) -> int | None:
        """Return how many tasks RHAPSODY's backend runs at once, once it is started."""
        return None if self._desk is None else self._desk.places

    async def start(self, sink: ReportSink) -> None:
        """Make RHAPSODY's backend and start it.

        Raises:
            BackendStartError: it does not come up.
        """
        await super().start(sink)
        foreign = self._foreign
        home = LoopOfEngine() if foreign.adopted else LoopOfItsOwn(f"{self.name}-loop")
        self._home = home
        try:
            self._object = await home.do(foreign.up())
            places = self._settings.max_workers or await home.do(foreign.places(self._object))
            states = self._object.get_task_states_map()
            self._terminal = {
                states.DONE: "DONE",
                states.FAILED: "FAILED",
                states.CANCELED: "CANCELED",
            }
            self._object.register_callback(self._on_state)
        except BaseException as error:
            await self._end_foreign(late=False)
            if isinstance(error, AsyncFlowError) or not isinstance(error, Exception):
                raise
            raise BackendStartError(
                f"RHAPSODY's backend {foreign.title!r} did not start: {safe_str(error)}"
            ) from error
        self._desk = desk = Desk(sink, places)
        self._carrier = self._make_carrier(sink, desk)

        def lost(why: str) -> None:
            if not self.is_shut_down:
                text = f"RHAPSODY's backend {foreign.title!r} is gone: {why}"
                desk.lose(BackendLostError(text))

        foreign.watch(self._object, lost)

    def _make_carrier(self, sink: ReportSink, desk: Desk) -> Runners | Orders:
        way = self._foreign.way
        token = f"asyncflow-{secrets.token_hex(6)}"
        grace = self._settings.grace
        if way.place == "here":
            return Runners(desk, sink, self._hand_over, token=token, grace=grace)
        kind = {"programs": Programs, "nowhere": Markers}.get(way.place, Orders)
        return kind(
            *(desk, sink, self._hand_over),
            title=self._foreign.title,
            token=token,
            grace=grace,
            claims=way.repeats,
        )

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Queue the tasks of *batch*, and hand over as many as RHAPSODY's backend runs at once."""
        _ = self.sink  # raises before the start and after the end
        assert self._desk is not None
        assert self._carrier is not None
        self._desk.add(batch)
        self._carrier.fill()

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Cancel those that wait, end commands that run, and ask functions to stop."""
        if self._desk is not None:
            self._stop(self._desk.cancel(task_ids))

    def waits(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Wait]:
        """Say that waiting tasks wait for a place in RHAPSODY's backend."""
        if self._desk is None:
            return {}
        return self._desk.waits(task_ids, f"RHAPSODY's backend {self._foreign.title!r}")

    async def shutdown(self, *, cancel: bool = True) -> None:
        """End all tasks, or wait for them, and shut RHAPSODY's backend down."""
        await super().shutdown(cancel=cancel)
        desk, carrier = self._desk, self._carrier
        if cancel and desk is not None:
            if self._hurried is None:
                self._hurried = time.monotonic() + self._settings.grace + 1
            self._stop(desk.cancel_all())
        async with self._closing:
            if self._home is None:
                return
            late: list[Held] = []
            if desk is not None:
                while not desk.is_idle:
                    if self._hurried is not None and time.monotonic() > self._hurried:
                        late = desk.cancel_all()
                        break
                    await asyncio.sleep(LOOK_S)
                for held in late:
                    _log.warning(
                        "task %r (#%d) does not return; it is left behind in RHAPSODY's backend %r",
                        *(held.request.spec.name, held.request.task_id, self._foreign.title),
                    )
                    desk.end(held)
            await self._end_foreign(late=bool(late))
            if carrier is not None:
                await in_thread(carrier.close)

    async def _end_foreign(self, *, late: bool) -> None:
        """Shut RHAPSODY's backend down, and end the loop in which it lived."""
        home, self._home = self._home, None
        assert home is not None
        backend, self._object = self._object, None
        # Where a function does not return, this would block the loop of the engine for good.
        if backend is not None and not (late and self._foreign.adopted):
            try:
                await home.do(self._foreign.down(backend), LATE_S if late else DOWN_S)
            except Exception as error:
                _log.warning(
                    "RHAPSODY's backend %r did not shut down cleanly: %s",
                    *(self._foreign.title, safe_str(error) or type(error).__name__),
                )
        await home.close()

    def _stop(self, running: list[Held]) -> None:
        if running and self._carrier is not None:
            self._carrier.stop(running)

    # ------------------------------------------------------------------ RHAPSODY's side

    def _hand_over(self, tasks: list[dict[str, Any]]) -> None:
        """Give *tasks* to RHAPSODY's backend; from any thread."""
        assert self._home is not None
        self._home.soon(partial(self._submit_there, tasks))

    async def _submit_there(self, tasks: list[dict[str, Any]]) -> None:
        try:
            await self._object.submit_tasks(tasks)
        except Exception as error:
            assert self._desk is not None
            lost = BackendLostError(
                f"RHAPSODY's backend {self._foreign.title!r} takes no tasks: {safe_str(error)}"
            )
            lost.__cause__ = error
            self._desk.lose(lost)

    def _on_state(self, task: Any, state: Any) -> None:
        """Take the news of a task of RHAPSODY; called in whichever thread it likes."""
        outcome = self._terminal.get(state)
        if outcome is None or self._carrier is None:
            return
        uid = field_of(task, "uid")
        # Some of its backends keep what has ended.
        kept = getattr(self._object, "tasks", None)
        if isinstance(kept, dict):
            kept.pop(uid, None)
        self._carrier.ended(uid, outcome, task)
