"""One started backend for several engines.

The engine that starts a backend has it for itself, and nothing here is in its way.  When another
engine is created with the same instance, that one gets a `Share`, which is a backend for its
engine.  The ids of its tasks are moved by a multiple of `NUMBERS` on their way to the backend, so
that no two tasks there have one id, and the `Sharing`, which takes the place of an inbox in the
sink of the backend, gives each report to the engine whose task it is about.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._graph.arguments import LEAVES, rewrite_call
from ..errors import BackendStartError
from ..model import TaskSpec, TaskState, Written
from ._contract import (
    AnyReport,
    ExecutionBackend,
    ReportSink,
    TaskId,
    TaskRef,
    TaskRequest,
    closed_error,
)
from ._inbox import LOST, MOST_UNREAD, SERVING, TRACE, Inbox, Sink

if TYPE_CHECKING:
    from ._waits import Wait

__all__ = ["MADE_OF", "NUMBERS", "Share", "Sharing", "leave", "original", "own_waits", "share_of"]

log = logging.getLogger("radical.asyncflow")

NUMBERS = 10**12
"""The number of ids that each engine has; an id is ``engine * NUMBERS + number of the task``."""

MADE_OF = "_asyncflow_made_of"
"""The attribute of a backend that a plugin made of an object, which has the object."""

RUNNING = TaskState.RUNNING
_new = tuple.__new__  # a named tuple's own constructor costs three times as much

LEAVES.add(TaskRef)


class _Switch:
    """The reports of a shared backend, each of which goes on to its engine at once.

    Attributes:
        inboxes: the inboxes of the engines, by their places.
    """

    __slots__ = ("_take_other", "inboxes")

    def __init__(self, inboxes: dict[int, Inbox], take_other: Callable[[Any], None]) -> None:
        self.inboxes = inboxes
        self._take_other = take_other

    def __len__(self) -> int:
        return 0

    def extend(self, reports: Iterable[AnyReport]) -> None:
        for report in reports:
            self.append(report)

    def append(self, report: AnyReport) -> None:
        try:
            task_id, attempt, state, value, when = report
            engine, number = divmod(task_id, NUMBERS)
            inbox = self.inboxes.get(engine)
        except Exception:
            self._take_other(report)
            return
        if inbox is None:
            if task_id < 0:
                self._take_other(report)
            return  # else its engine has ended
        inbox.reports.append((number, attempt, state, value, when))
        if inbox.awake or state is TRACE or (state is RUNNING and not inbox.eager):
            return
        inbox.wake()
        if len(inbox.reports) > MOST_UNREAD:
            inbox.give_way()


class Sharing:
    """The engines that use one started backend, and what its sink reports to in their place.

    The first of them has started the backend, and has the ids as they are.

    Attributes:
        backend: the backend.
        reports, awake, eager: as those of an `Inbox`; a report wakes the engine that gets it.
    """

    def __init__(self, backend: ExecutionBackend, sink: Sink) -> None:
        self.backend = backend
        loop: asyncio.AbstractEventLoop = sink._inbox.loop
        self.loop = loop
        self._up: asyncio.Future[BaseException | None] = loop.create_future()
        self._engines = 1
        self._sinks: dict[int, Sink] = {}
        self._loss: BaseException | None = None
        self._at_end: list[Callable[[], object]] = []
        self._lifeline: AsyncGenerator[None, None] | None = None
        self.reports = _Switch({}, self._take_other)
        self.awake = True
        self.eager = False
        self._inboxes: tuple[Inbox, ...] = ()
        self._set(0, sink.twin())
        if sink.is_up:
            self._up.set_result(None)
        sink.sharing = sink._inbox = self  # from now on; another thread may be about to report

    # ------------------------------------------------- as an inbox, for the backend's sink

    @property
    def clock(self) -> Callable[[], float] | None:
        """The clock of an engine that somebody watches; None if nobody watches any."""
        for inbox in self._inboxes:
            if (clock := inbox.clock) is not None:
                return clock
        return None

    @property
    def keeps_output(self) -> bool:
        return any(inbox.keeps_output for inbox in self._inboxes)

    @property
    def keeps_usage(self) -> bool:
        return any(inbox.keeps_usage for inbox in self._inboxes)

    def wake(self) -> None:
        """Do nothing: the report has woken its engine."""

    def give_way(self) -> None:
        """Do nothing: the report has done so."""

    def _take_other(self, report: Any) -> None:
        """Take in a report about the backend or a service, or one that is malformed."""
        match report:
            case (task_id, _, _, (error, unbegun), _) if task_id == LOST:
                self._lose(error, unbegun)
            case (task_id, _, _, (of, attempt, serving), _) if task_id == SERVING:
                engine, number = divmod(of, NUMBERS)
                if (sink := self._sinks.get(engine)) is not None:
                    sink.serving(number, attempt, serving)
            case _:
                for sink in tuple(self._sinks.values())[:1]:
                    sink.report([report])  # its engine says what is wrong with it

    def _lose(self, error: BaseException, unbegun: Collection[TaskId]) -> None:
        self._loss = error
        for engine, sink in tuple(self._sinks.items()):
            sink.lost(error, [each % NUMBERS for each in unbegun if each // NUMBERS == engine])

    # ------------------------------------------------------------------ the engines

    def note_start(self, error: BaseException | None) -> None:
        """Note that the start of the backend has ended, with *error* or without."""
        self._up.set_result(error)

    async def join(self, sink: Sink) -> int:
        """Add the engine that *sink* reports to, once the backend is up; return its place.

        Raises:
            BackendStartError: the backend did not start, or is lost.
        """
        place = self._engines
        self._engines += 1
        self._set(place, sink)
        try:
            error = self._loss or await asyncio.shield(self._up)
            if error is not None:
                how = "was lost" if self._loss is not None else "did not start"
                raise BackendStartError(
                    f"backend {self.backend.name!r}, which another engine has started, {how}: "
                    f"{error}"
                ) from error
        except BaseException:
            self._set(place, None)
            raise
        return place

    async def leave(self, place: int, *, keep: bool) -> None:
        """Let the engine with this *place* go; if it was the last, end the backend.

        Args:
            keep: do not end it, because the program will use it again.
        """
        self._set(place, None)
        if self._sinks:
            return
        if keep and self._loss is None and not self.backend.is_shut_down:
            if self._lifeline is None:
                self._lifeline = _lifeline(self)
                _LIFELINES.add(self._lifeline)
                await anext(self._lifeline)
            return
        try:
            await self.backend.shutdown(cancel=True)
        finally:
            await self.close()

    def _set(self, place: int, sink: Sink | None) -> None:
        """Let the engine with this *place* report to *sink*; None if it is gone."""
        if sink is None:
            self._sinks.pop(place, None)
            self.reports.inboxes.pop(place, None)
        else:
            self._sinks[place] = sink
            self.reports.inboxes[place] = sink._inbox
        self._inboxes = tuple(self.reports.inboxes.values())

    def at_end(self, call: Callable[[], object]) -> None:
        """Call *call* when the backend has ended."""
        self._at_end.append(call)

    async def close(self) -> None:
        """Note that the backend has ended."""
        calls, self._at_end = self._at_end, []
        for call in calls:
            call()
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            _LIFELINES.discard(lifeline)
            await lifeline.aclose()

    async def _loop_closes(self) -> None:
        """End the backend, because the loop is being closed and no engine uses it."""
        if self._lifeline is None:
            return
        _LIFELINES.discard(self._lifeline)
        self._lifeline = None
        try:
            if not self.backend.is_shut_down:
                if MADE_OF not in vars(self.backend):  # else the program may have ended that
                    log.warning(
                        "backend %r was left running and not shut down; use 'async with' for it "
                        "or await backend.shutdown()",
                        self.backend.name,
                    )
                await self.backend.shutdown(cancel=True)
        finally:
            await self.close()


_LIFELINES: set[AsyncGenerator[None, None]] = set()
"""The lifelines of backends that no engine uses, which keep them until their loop ends."""


async def _lifeline(sharing: Sharing) -> AsyncGenerator[None, None]:
    """Stay open as long as the backend is up; asyncio closes it when it closes the loop."""
    try:
        yield
    finally:
        await sharing._loop_closes()


class Share(ExecutionBackend):
    """A backend that another engine has started, as one more engine sees it.

    Args:
        backend: the backend itself.
        uid: the name of the engine's run.
    """

    def __init__(self, backend: ExecutionBackend, uid: str) -> None:
        self.name = backend.name
        self.backend = backend
        self.capabilities = backend.capabilities
        self._uid = uid
        self._sharing: Sharing | None = None
        self._place = 0
        self._first: TaskId = 0

    async def start(self, sink: ReportSink) -> None:
        """Join those that use the backend, and wait until it is up.

        Raises:
            BackendStartError: it did not start, is lost, or lives in another event loop.
            EngineClosedError: it was shut down.
        """
        await super().start(sink)
        backend = self.backend
        theirs = vars(backend).get("sink")
        if backend.is_shut_down or not isinstance(theirs, Sink):
            raise closed_error(f"backend {self.name!r}")
        loop = theirs._inbox.loop
        if loop is not asyncio.get_running_loop():
            raise BackendStartError(
                f"backend {self.name!r} was started in another event loop; engines that use one "
                "backend are created in one loop: make another backend for this one"
            )
        assert isinstance(sink, Sink)
        sharing = theirs.sharing or Sharing(backend, theirs)
        self._place = await sharing.join(sink)
        self._first = self._place * NUMBERS
        self._sharing = sharing
        self.capabilities = backend.capabilities
        if backend.shared_dir is not None:
            # The tasks of all engines have the same numbers, and folders that are named by them.
            self.shared_dir = backend.shared_dir / self._uid

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        first = self._first
        self.backend.submit(
            [
                self._moved(request)
                if request.dependencies
                else _new(TaskRequest, (first + request[0], *request[1:]))
                for request in batch
            ]
        )

    def _moved(self, request: TaskRequest) -> TaskRequest:
        args, kwargs = rewrite_call(request.args, request.kwargs, self._moved_ref)
        return request._replace(
            task_id=self._first + request.task_id,
            args=args,
            kwargs=kwargs,
            dependencies=tuple([self._first + ref for ref in request.dependencies]),
        )

    def _moved_ref(self, leaf: Any) -> Any:
        return TaskRef(self._first + leaf.task_id) if type(leaf) is TaskRef else leaf

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        self.backend.cancel(self._theirs(task_ids))

    def _theirs(self, task_ids: Collection[TaskId]) -> list[TaskId]:
        return [self._first + task_id for task_id in task_ids]

    def waits(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Wait]:
        return own_waits(self.backend.waits(self._theirs(task_ids)), self._first)

    async def written(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Written]:
        told = await self.backend.written(self._theirs(task_ids))
        return {task_id - self._first: written for task_id, written in told.items()}

    def check(self, spec: TaskSpec) -> None:
        self.backend.check(spec)

    def identity(self, spec: TaskSpec) -> Any:
        return self.backend.identity(spec)

    def plan(self) -> Mapping[str, Any]:
        return self.backend.plan()

    def capacity(self) -> int | None:
        return self.backend.capacity()

    async def shutdown(self, *, cancel: bool = True) -> None:
        """Leave the backend to the others."""
        await self._leave(keep=False)
        await super().shutdown(cancel=cancel)

    async def _leave(self, *, keep: bool) -> None:
        sharing, self._sharing = self._sharing, None
        if sharing is not None:
            await sharing.leave(self._place, keep=keep or self.backend._is_held)


def share_of(backend: ExecutionBackend, uid: str) -> ExecutionBackend:
    """Return what the run *uid* uses in place of *backend*: itself, unless it was started."""
    if isinstance(vars(backend).get("sink"), Sink) and not backend.is_shut_down:
        return Share(backend, uid)
    return backend


def own_waits(told: Mapping[TaskId, Wait], first: TaskId = 0) -> dict[TaskId, Wait]:
    """Return what a shared backend has *told* without the tasks of other engines.

    Args:
        first: what is added to the numbers of the engine's own tasks.
    """
    return {
        task_id - first: replace(
            wait, holders=[one - first for one in wait.holders if 0 <= one - first < NUMBERS]
        )
        for task_id, wait in told.items()
    }


def original(backend: ExecutionBackend) -> ExecutionBackend:
    """Return the backend itself if *backend* is the share of an engine."""
    return backend.backend if isinstance(backend, Share) else backend


async def leave(backend: ExecutionBackend, sink: Sink, *, keep: bool, last: bool) -> None:
    """End what one engine has of *backend*, and the backend if no other engine uses it.

    Args:
        sink: the sink of the engine.
        keep: do not end it, because the program will use it again.
        last: end it although the program holds it: its loop is being closed.
    """
    keep = keep and not last
    if isinstance(backend, Share):
        await backend._leave(keep=keep)
        await backend.shutdown()
        return
    keep = keep or (backend._is_held and not last)
    sharing = sink.sharing
    if not sink.is_up or (sharing is None and not keep):
        await backend.shutdown(cancel=True)
        return
    await (sharing or Sharing(backend, sink)).leave(0, keep=keep)
