"""The shell around the scheduler: calls and reports go in, submissions and results come out.

Everything here runs in the engine's loop.  One turn of `Dispatcher.pump` sends what is
ready, one batch for each backend, and takes in what was reported, until neither is
left or its budget is used up; so a chain on a backend that answers at once needs no
turn of the loop for each link, and the loop is never starved.  There is no polling and
no timer on this way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

from .._graph.arguments import ATOMS, FLAT, NESTED, PLAIN
from .._graph.plan_recorder import PlanRecorder
from .._graph.scheduler import Scheduler
from .._task.call import Call
from .._task.future import NO_KWARGS, RemoteTaskFuture, TaskFuture, aux_of
from .._task.scope import SCOPE, Scope
from .._watch.carriage import Carriage
from .._watch.observers import Observer, Observers
from ..backend import ExecutionBackend, Report, TaskRequest
from ..backend._inbox import Inbox, Sink
from ..backend._lane import Lane
from ..errors import BackendError, CycleError, EngineClosedError, PendingLimitError
from ..model import TaskKind, TaskSpec, TaskState
from .collector import INTERVAL, PACE
from .outcomes import Outcomes
from .preparation import Preparer
from .reports import Reports
from .sending import sender
from .values import StillOpen

if TYPE_CHECKING:
    from .._resume.recorder import Recorder

__all__ = ["Dispatcher"]

log = logging.getLogger("radical.asyncflow")

PENDING, READY = TaskState.PENDING, TaskState.READY
SUBMITTED, RUNNING = TaskState.SUBMITTED, TaskState.RUNNING
DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED
FUNCTION = TaskKind.FUNCTION

BUDGET = 2000
"""Tasks sent or reports taken in one turn; some 10 ms of the loop's time."""

STRIDE = 500
"""Tasks sent before reports get their turn: what is done lets go of its memory."""

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


class Dispatcher:
    """The engine's machinery; `WorkflowEngine` is its face.

    Attributes:
        lanes: the backends by name, in the order they were given; the first is the default.
        by_index: the same, by the number that their sinks know them by.
        number: of the latest call.
        references: some backend keeps values, or orders tasks itself.
        journal: writes the journal, if there is one.
        full: the lanes that have a batch.
        gates: each is asked before a task is sent; it is not if one says True.
    """

    def __init__(
        self,
        uid: str,
        work_dir: Callable[[], Path],
        *,
        max_pending: int | None = None,
        recorder: PlanRecorder,
    ) -> None:
        self.uid = uid
        self.loop = asyncio.get_running_loop()
        self.lanes: dict[str, Lane] = {}
        self.recorder = recorder
        self.scheduler = Scheduler()
        self.closed = False
        self.journal: Recorder | None = None
        self.gates: tuple[Callable[[TaskFuture[Any]], bool], ...] = ()
        self.by_index: list[Lane] = []
        self._work_dir = work_dir
        self._max_pending = max_pending
        self.number = 0
        self._thread = get_ident()
        self._inbox = Inbox(self.loop, self.pump)
        self._pumping = False
        self._quick = False
        self._hurried = True
        self.full: list[Lane] = []
        self.references = False
        self._idle: asyncio.Future[None] | None = None
        self.observers = Observers(uid, self._inbox)
        self.carriage: Carriage | None = None
        self.outcomes = Outcomes(self)
        self.reports = Reports(self, self._inbox)
        self.preparer = Preparer(self, work_dir)
        self._send = sender(self)

    # ---------------------------------------------------------------- backends

    def add_lane(self, backend: ExecutionBackend) -> tuple[Lane, Sink]:
        lane = Lane(len(self.by_index), backend)
        if lane.name in self.lanes:
            raise BackendError(
                f"two backends of one engine are called {lane.name!r}; give one another name="
            )
        self.by_index.append(lane)
        # Where a backend keeps values or orders tasks itself, an argument may be a reference.
        self.references |= lane.native or lane.remote
        self._quick |= lane.capabilities.quick
        self._hurried = not self._quick
        self.lanes[lane.name] = lane
        return lane, Sink(self._inbox, lane.index, self.uid, self._work_dir)

    # ------------------------------------------------------------------- calls

    def register(
        self,
        call: Call,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        workflow_id: str | None = None,
    ) -> TaskFuture[Any]:
        """A new task and its future; its dependencies are found in the arguments."""
        scheduler = self.scheduler
        if (
            self.closed
            or get_ident() != self._thread
            or (self._max_pending is not None and not scheduler.has_room(self._max_pending))
        ):
            raise self._refusal(call.spec)
        future: TaskFuture[Any]
        if call.remote:
            future = RemoteTaskFuture(loop=self.loop)
            future.remote = None
            future.wanted = False
        else:
            future = TaskFuture(loop=self.loop)
        self.number = number = self.number + 1
        if not number % INTERVAL:
            PACE.live(self.uid, len(scheduler.tasks) + len(scheduler.ready))
        future.number = number
        future.call = call
        future.args = args
        future.kwargs = kwargs = kwargs or NO_KWARGS
        future.attempt = 1
        future.dependents = future.followers = future.aux = None
        future.stage = PENDING

        # Most arguments are plain values or futures at the top level: found inline.
        binding = PLAIN
        linked: list[TaskFuture[Any]] | None = None
        holds = 0
        for value in (*args, *kwargs.values()) if kwargs else args:
            kind = type(value)
            if (kind is TaskFuture or kind is RemoteTaskFuture) and value.call.dispatcher is self:
                binding = FLAT
                if linked is None:
                    linked = [value]
                else:
                    linked.append(value)
            elif kind not in ATOMS:
                binding = NESTED
                break
        if binding == NESTED:
            linked, holds = self.preparer.find(future)
        else:
            future.binding = binding

        scope = SCOPE.get()
        if scope is not None or workflow_id is not None or not call.plain:
            self._place(future, scope, workflow_id)
        if linked is not None or call.spec is not self.recorder.latest:
            self.recorder.add(call.spec, number, linked)
        if self.journal is not None:
            self.journal.added(future, linked)
        if self.observers.events is not None:
            self.observers.add_task(future, linked, scope)
        if self.carriage is not None:
            self.carriage.load(future)
        ended = scheduler.add(future, linked, holds)
        if ended:
            self.outcomes.resolve(ended)
        inbox = self._inbox
        if not inbox.awake:
            inbox.wake()
        return future

    def _refusal(self, spec: TaskSpec) -> Exception:
        """Why a call cannot be taken."""
        if self.closed:
            return EngineClosedError(
                f"task {spec.name!r} was called after the engine's shutdown; create a new engine"
            )
        if get_ident() != self._thread:
            return RuntimeError(
                f"task {spec.name!r} was called in another thread than its engine's loop; "
                "a function that calls tasks has to be a block (@flow.block), any other thread "
                "uses loop.call_soon_threadsafe or asyncio.run_coroutine_threadsafe"
            )
        return PendingLimitError(
            f"{self._max_pending} tasks are unfinished, as many as max_pending allows; "
            "await some of them, or use flow.map(task, items, limit=...)"
        )

    def _place(self, future: TaskFuture[Any], scope: Scope | None, workflow_id: str | None) -> None:
        """Note what only some calls have: a workflow, a block around them, a body to run here."""
        aux = aux_of(future)
        aux.workflow_id = workflow_id
        if future.spec.kind is not FUNCTION:
            aux.context = copy_context()
        if scope is not None and scope.engine == self.uid:
            aux.workflow_id = workflow_id or scope.workflow_id
            scope.add_member(future)

    # -------------------------------------------------------------------- pump

    def pump(self) -> None:
        """Send what is ready and take in what was reported; once, and briefly."""
        if self._pumping:
            return
        self._pumping = True
        self._hurried = not self._quick
        inbox = self._inbox
        ready = self.scheduler.ready
        reports = inbox.reports
        inbox.awake = True
        full = self.full
        send = self._send
        receive = self.reports.receive
        budget = BUDGET
        finished = False
        try:
            while True:
                if ready or full:
                    budget -= send(min(budget, STRIDE))
                if reports:
                    budget -= receive(budget)
                if budget <= 0:
                    break
                if not ready and not reports and not full:
                    inbox.awake = False
                    if not reports:
                        finished = True
                        break
                    inbox.awake = True
        finally:
            self._pumping = False
            if not finished:
                # Out of budget; or interrupted, as by a KeyboardInterrupt: `awake` is
                # set, so nobody else would come back to what is left.
                self.loop.call_soon(self.pump)
        if self.journal is not None:
            self.journal.flush()
        if self.observers.events:
            self.observers.deliver()
        if self.scheduler.idle:
            PACE.live(self.uid, 0)
            if self._idle is not None and not self._idle.done():
                self._idle.set_result(None)

    def hurry(self) -> None:
        """Somebody is about to wait: send what is ready without another turn of the loop.

        Once a turn at most: of many who wait, the others' tasks go in one batch.
        """
        if self._hurried or not self.scheduler.ready:
            return
        if self._pumping or get_ident() != self._thread:
            return
        self._hurried = True
        self._inbox.wake()  # `pump` goes on with what is left, and ends the turn
        self._pumping = True
        try:
            self._send(BUDGET)
        finally:
            self._pumping = False

    def wake(self) -> None:
        """See to it that a turn of `pump` comes."""
        self._inbox.wake()

    def absorb(self) -> None:
        """Take in what was reported, so that a look at a state sees the present."""
        if self._inbox.reports and get_ident() == self._thread:
            self.pump()

    def send_rare(self, node: TaskFuture[Any]) -> None:
        """A block, a body to run, a nested argument, a lost backend."""
        lane: Lane | None = node.lane
        if lane is not None and lane.lost is not None:
            self.outcomes.attempt_failed(node, lane.lost)
            return
        try:
            self.preparer.begin(node)
        except StillOpen as signal:
            self.wait_more(node, signal.futures)
        except (Exception, asyncio.CancelledError) as error:
            self.unbound(node, error)

    def unbound(self, node: TaskFuture[Any], error: BaseException) -> None:
        """The arguments of *node* cannot be had, as a dependency's value could not be."""
        if isinstance(error, asyncio.CancelledError):
            self.outcomes.resolve(self.scheduler.cancel(node))
        else:
            self.outcomes.resolve(self.scheduler.fail(node, error))

    def enqueue(
        self,
        node: TaskFuture[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        command: Any = None,
        refs: tuple[int, ...] = (),
    ) -> None:
        """*node* was prepared: it goes with the next batch of its backend."""
        lane: Lane = node.lane
        self._inbox.wake()
        if lane.lost is not None:
            self.outcomes.attempt_failed(node, lane.lost)
            return
        spec = node.spec
        if self.carriage is not None and command is None:
            spec, args = self.carriage.pack(node, args)
        request = TaskRequest(node.number, node.attempt, spec, args, kwargs, command, refs)
        if not lane.batch:
            self.full.append(lane)
        lane.batch.append(request)
        self.scheduler.submitted(node)
        if self.observers.events is not None:
            self.observers.tell(node, SUBMITTED)

    def wait_more(self, node: TaskFuture[Any], late: Iterable[TaskFuture[Any]]) -> None:
        """Futures that *node* needs were found unfinished when it was about to be sent."""
        here = [future for future in late if future.stage is not DONE]
        if node.aux is not None and node.aux.linked is not None:
            node.aux.linked.update(future.number for future in here)
        away = [future for future in late if future.stage is DONE]
        try:
            ended = self.scheduler.wait_more(node, here, holds=len(away))
        except CycleError as error:
            self.outcomes.resolve(self.scheduler.fail(node, error))
            return
        self.outcomes.resolve(ended)
        for future in away:
            # The value is on another backend: it is fetched, and then the task goes on.
            future.add_done_callback(lambda _: self.release(node))

    def release(self, node: TaskFuture[Any]) -> None:
        """Something that *node* waited for beside tasks is there."""
        if node.stage is PENDING:
            self.scheduler.release(node)
            self._inbox.wake()

    def refused(self, lane: Lane, batch: Sequence[TaskRequest], cause: Exception) -> None:
        error = BackendError(f"backend {lane.name!r} refused the task: {cause}")
        error.__cause__ = cause
        self._inbox.reports.extend(
            Report(request.task_id, request.attempt, FAILED, error) for request in batch
        )

    # --------------------------------------------------------------- the rest

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Tell *observer* of every event from now on.  Returns the function that ends it."""
        self.want_running()
        return self.observers.add(observer)

    def want_running(self) -> None:
        """From now on a RUNNING report wakes the loop: somebody counts from it."""
        self._inbox.eager = True

    async def wait_idle(self) -> None:
        """Return when no task is unfinished."""
        while not self.scheduler.idle:
            if self._idle is None or self._idle.done():
                self._idle = self.loop.create_future()
            await asyncio.shield(self._idle)
        self._idle = None
