"""The shell around the scheduler: calls and reports go in, submissions and results come out.

All of this runs in the engine's loop.  One turn of `Dispatcher.pump` sends what is ready,
one batch for each backend, and takes in what was reported.  It goes on until nothing is
ready or reported, or until it has done `STEPS_A_TURN` steps.  So a chain on a backend that
answers at once does not need a turn of the loop for each task, and the loop is never
starved.  There is no polling and no timer on this way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from dataclasses import replace
from pathlib import Path
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from .._graph.arguments import ATOMS, FLAT, NESTED, PLAIN
from .._graph.plan_recorder import PlanRecorder
from .._graph.scheduler import Node
from .._task.call import Call
from .._task.future import NO_KWARGS, Ending, EndReason, RemoteTaskFuture, TaskFuture, extras_of
from .._task.scope import SCOPE, Scope
from .._task.service import Service, ServiceFuture
from .._watch.observers import Observer, Observers
from ..backend import ExecutionBackend
from ..backend._inbox import Inbox, Sink
from ..backend._lane import Lane
from ..errors import BackendError, EngineClosedError, PendingLimitError
from ..model import TaskKind, TaskSpec, TaskState
from .background import Background
from .collector import CALLS_A_COUNT, COLLECTOR_PACE
from .outbox import Outbox
from .outcomes import Outcomes
from .preparation import Preparation
from .reports import Reports
from .routing import choose_lane, lanes_to_choose_from
from .run import Run
from .sending import sender
from .services import Services

if TYPE_CHECKING:
    from .._display.census import Census
    from ..model import Container, Waiting
    from .instances import Instances

__all__ = ["Dispatcher"]

PENDING, READY = TaskState.PENDING, TaskState.READY

NO_VARIABLES = Context()
"""The context of every call that sees no variable; the collector has less to look through."""

STEPS_A_TURN = 2000
"""Tasks sent and reports taken in one turn of the pump, which takes some 10 ms."""

TASKS_BEFORE_REPORTS = 500
"""Tasks sent before reports are taken in, so that finished tasks free their memory."""


class Dispatcher:
    """The machinery of an engine, and the `Owner` of its tasks; users see `WorkflowEngine`.

    Attributes:
        run: the state that all of the machinery shares.
        background: the asyncio tasks in which the engine works for tasks.
        outcomes: decides what follows the end of an attempt.
        outbox: puts prepared tasks into batches.
        services: follows the services.
        instances: has the services of functions; None until there is one.
        plan_recorder: remembers the graph for `WorkflowEngine.plan`.
        number: the number of the latest call.
    """

    def __init__(
        self,
        uid: str,
        work_dir: Callable[[], Path],
        *,
        max_pending: int | None = None,
        plan_recorder: PlanRecorder,
    ) -> None:
        self.plan_recorder = plan_recorder
        self.number = 0
        self._work_dir = work_dir
        self._max_pending = max_pending
        self._thread = get_ident()
        self._loop = asyncio.get_running_loop()
        self._inbox = inbox = Inbox(self._loop, self.pump)
        self._observers = Observers(uid, inbox)
        self.run = run = Run(uid, inbox, self._observers, work_dir)
        self._scheduler = run.scheduler
        self.background = Background(self._loop)
        self.outcomes = Outcomes(run, self.background)
        self.outbox = Outbox(run, self.outcomes)
        self._preparation = Preparation(run, self, self.background, self.outcomes, self.outbox)
        self.services = Services(run, self.outcomes, self.register)
        self.instances: Instances | None = None
        self._receive = Reports(run, self.outcomes, self.services, inbox).receive
        self._send, self._submit = sender(run, self.outcomes, self.outbox, self._preparation)
        self._next_lane = 0
        self._containers: dict[Lane, Container] = {}
        self._pumping = False
        self._quick = False
        self._pump_requested = True
        self._idle: asyncio.Future[None] | None = None

    # ---------------------------------------------------------------- backends

    def add_lane(self, backend: ExecutionBackend) -> Lane:
        """Add *backend*, which is about to start, to those of the run.

        The first one that comes up is the default.

        Raises:
            BackendError: another backend of this engine has the same name.
        """
        run = self.run
        lane = Lane(self._next_lane, backend)
        if lane.name in run.lanes:
            raise BackendError(
                f"two backends of one engine have the name {lane.name!r}; give one of them "
                "another name="
            )
        self._next_lane += 1
        run.lanes[lane.name] = lane
        lane.sink = Sink(self._inbox, lane.index, run.uid, self._work_dir)
        return lane

    def lane_up(self, lane: Lane, container: Container | None = None) -> None:
        """Note that the backend of *lane* has started.

        Args:
            container: that in which the commands of its tasks run, unless they have another.
        """
        lane.note_start()
        if container is not None:
            self._containers[lane] = container
        # Where a backend keeps values or orders tasks itself, an argument may be a reference.
        self.run.references |= lane.native or lane.remote
        self._quick |= lane.capabilities.quick
        self._pump_requested = not self._quick

    def lanes_to_choose_from(self, *, named: bool = False) -> Mapping[str, Lane]:
        """Return the lanes that a new task may go to, the default first.

        Args:
            named: True for a task that names its backend.
        """
        failover = self.outcomes.failover is not None
        return lanes_to_choose_from(self.run.lanes, failover=failover, named=named)

    def remove_lane(self, lane: Lane) -> None:
        """Remove *lane*, whose backend did not start."""
        del self.run.lanes[lane.name]

    def bind(self, spec: TaskSpec, lane: Lane | None = None) -> Call:
        """Choose the backend of *spec*, and return the `Call` that all its calls share.

        Args:
            lane: the backend, if it is chosen already.

        Raises:
            ConfigurationError: there is no such backend, or none can honour an option.
        """
        recorded = self.run.journal is not None
        if spec.kind is TaskKind.BLOCK:
            return Call(self, spec, None, recorded=recorded)
        if lane is None:
            lane = choose_lane(spec, self.lanes_to_choose_from(named=spec.backend is not None))
        else:
            lane.check(spec)
        if spec.timeout is not None:
            self.want_running()
        asked = spec
        if spec.kind is TaskKind.EXECUTABLE and spec.container is None and lane in self._containers:
            spec = replace(spec, container=self._containers[lane])
        call = Call(self, spec, lane, recorded=recorded)
        call.asked = asked
        return call

    # ------------------------------------------------------------------- calls

    def register(
        self,
        call: Call,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        workflow_id: str | None = None,
    ) -> TaskFuture[Any]:
        """Make a task, find its dependencies among the arguments, and return its future.

        Raises:
            EngineClosedError: the engine was shut down.
            RuntimeError: the call was made in another thread than the engine's.
            PendingLimitError: as many tasks are unfinished as ``max_pending`` allows.
        """
        run = self.run
        scheduler = self._scheduler
        if (
            run.closed
            or get_ident() != self._thread
            or (self._max_pending is not None and not scheduler.has_room(self._max_pending))
        ):
            raise self._refusal(call.spec)
        future: TaskFuture[Any]
        future = self._special_future(call) if call.special else TaskFuture(loop=self._loop)
        self.number = number = self.number + 1
        if not number % CALLS_A_COUNT:
            COLLECTOR_PACE.set_live(id(run), len(scheduler.tasks) + len(scheduler.ready))
        future._number = number
        future._call = call
        future._args = args
        future._kwargs = kwargs = kwargs or NO_KWARGS
        future._attempt = 1
        future._dependents = future._followers = future._extras = None
        future._stage = PENDING
        future._context = (copy_context() or NO_VARIABLES) if call.in_context else None

        # Most arguments are plain values, or futures at the top level: this loop finds those.
        binding = PLAIN
        dependencies: list[TaskFuture[Any]] | None = None
        holds = 0
        for value in (*args, *kwargs.values()) if kwargs else args:
            kind = type(value)
            if (kind is TaskFuture or kind is RemoteTaskFuture) and value._call.owner is self:
                binding = FLAT
                if dependencies is None:
                    dependencies = [value]
                else:
                    dependencies.append(value)
            elif kind not in ATOMS:
                binding = NESTED
                break
        if binding == NESTED:
            dependencies, holds = self._preparation.find_dependencies(future)
        else:
            future._binding = binding

        scope = SCOPE.get()
        if scope is not None or workflow_id is not None or not call.simple:
            dependencies = self._add_surroundings(future, scope, workflow_id, dependencies)
        if dependencies is not None or call.spec is not self.plan_recorder.latest:
            self.plan_recorder.add(call.spec, number, dependencies)
        if run.journal is not None:
            run.journal.added(future, dependencies)
        if self._observers.watched:
            self._observers.called(future, dependencies, scope)
        if run.carriage is not None:
            run.carriage.collect_headers(future)
        if dependencies is None and not holds:  # as `Scheduler.add` does, without a call
            future._blockers = future._depth = 0
            future._stage = READY
            scheduler.ready.append(future)
        elif ended := scheduler.add(future, dependencies, holds):
            self.outcomes.resolve(ended)
        inbox = self._inbox
        if not inbox.awake:
            inbox.wake()
        return future

    def _special_future(self, call: Call) -> TaskFuture[Any]:
        """Make the future of a call that starts a service, or whose value may stay elsewhere."""
        if not call.remote:
            return self.services.make_future(call.spec)
        future: RemoteTaskFuture[Any] = RemoteTaskFuture(loop=self._loop)
        future._remote = None
        future._wanted = False
        future._lineage = None
        return future

    def register_again(
        self, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> TaskFuture[Any]:
        """Make a task that the engine itself wants, also beyond ``max_pending``.

        Raises:
            EngineClosedError: the engine was shut down.
        """
        limit, self._max_pending = self._max_pending, None
        try:
            return self.register(call, args, kwargs)
        finally:
            self._max_pending = limit

    def _refusal(self, spec: TaskSpec) -> Exception:
        """Return the error of a call of *spec* that the engine cannot accept."""
        if self.run.closed:
            return EngineClosedError(
                f"task {spec.name!r} was called after the engine's shutdown; create a new engine"
            )
        if get_ident() != self._thread:
            return RuntimeError(
                f"task {spec.name!r} was called outside of the thread of its engine's loop: make "
                "a function that calls tasks a block (@flow.block); in any other thread use "
                "loop.call_soon_threadsafe or asyncio.run_coroutine_threadsafe"
            )
        return PendingLimitError(
            f"{self._max_pending} tasks are unfinished, as many as max_pending allows; "
            "await some of them, or use flow.map(task, items, limit=...)"
        )

    def _add_surroundings(
        self,
        future: TaskFuture[Any],
        scope: Scope | None,
        workflow_id: str | None,
        dependencies: list[TaskFuture[Any]] | None,
    ) -> list[TaskFuture[Any]] | None:
        """Store in *future* its workflow and its block; return its *dependencies*."""
        call = future._call
        if scope is not None or workflow_id is not None or not call.plain:
            extras = extras_of(future)
            extras.workflow_id = workflow_id
            if scope is not None and scope.run is self.run:
                extras.workflow_id = workflow_id or scope.workflow_id
                scope.add_member(future)
        if call.urgent and dependencies is None:
            return []  # it waits for nothing, and goes before what is ready
        return dependencies

    # -------------------------------------------------------------------- pump

    def pump(self) -> None:
        """Send what is ready and take in what was reported, for one short turn."""
        if self._pumping:
            return
        self._pumping = True
        self._pump_requested = not self._quick
        run = self.run
        journal = run.journal
        inbox = self._inbox
        ready, first = self._scheduler.ready, self._scheduler.first
        reports = inbox.reports
        inbox.awake = True
        full = run.full
        unbegun = self._preparation.unbegun
        send = self._send
        receive = self._receive
        steps_left = STEPS_A_TURN
        finished = False
        try:
            while True:
                if journal is not None:
                    journal.look_again()
                if ready or first or full:
                    steps_left -= send(min(steps_left, TASKS_BEFORE_REPORTS))
                if reports:
                    if journal is not None:
                        journal.look_again()
                    steps_left -= receive(steps_left)
                if steps_left <= 0:
                    break
                if not ready and not first and not reports and (not full or unbegun):
                    inbox.awake = False
                    if not reports:
                        finished = True
                        break
                    inbox.awake = True
        finally:
            self._pumping = False
            if not finished:
                # No steps are left, or an exception such as KeyboardInterrupt interrupted the
                # turn.  `awake` is set, so nothing else would call `pump` for the rest.
                self._loop.call_soon(self.pump)
        if journal is not None:
            journal.flush()
        observers = self._observers
        if observers.events or observers.news:
            observers.deliver()
        if self._scheduler.idle:
            COLLECTOR_PACE.set_live(id(run), 0)
            if observers.census is not None:
                observers.census.idle_at = monotonic()
            if self._idle is not None and not self._idle.done():
                self._idle.set_result(None)

    def request_pump(self) -> None:
        """Send what is ready without another turn of the loop, because somebody will wait.

        This happens at most once a turn: when many wait, the other tasks go in one batch.
        """
        if self._pump_requested or not (self._scheduler.ready or self._scheduler.first):
            return
        if self._pumping or get_ident() != self._thread:
            return
        self._pump_requested = True
        self._inbox.wake()  # `pump` sends the rest, and ends the turn
        self._pumping = True
        if self.run.journal is not None:
            self.run.journal.look_again()
        try:
            self._send(STEPS_A_TURN)
        finally:
            self._pumping = False

    def take_reports(self) -> None:
        """Take in what was reported, so that a state that is read is up to date."""
        self._inbox.take_reports()

    # --------------------------------------------------------------- the rest

    def why(self, task: TaskFuture[Any] | int | str | None) -> Waiting:
        """Say what *task* waits for; None for all tasks."""
        from .waiting import why  # here, because most programs never ask

        if get_ident() != self._thread:
            raise RuntimeError("why() was called outside of the thread of its engine's loop")
        return why(self.run, self.number, task)

    def cancel(self, future: Node, message: Any = None) -> None:
        """Cancel the task of *future*."""
        self.outcomes.end(cast(TaskFuture[Any], future), Ending(EndReason.CANCEL, message))

    def bind_to(self, spec: TaskSpec, lane: Lane) -> Call:
        """Return the `Call` of a method of the service that is reached by *lane*."""
        lane.check(spec)
        if spec.timeout is not None:
            self.want_running()
        return Call(self, spec, lane, recorded=self.run.journal is not None)

    def start_instance(
        self, spec: TaskSpec, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[ServiceFuture, Lane]:
        """Start the service of *spec*, whose function is a class; return it and its lane."""
        if self.run.closed or get_ident() != self._thread:
            raise self._refusal(spec)
        lane = choose_lane(spec, self.run.lanes)
        if spec.timeout is not None:
            self.want_running()
        self._quick = True
        self._pump_requested = False
        if self.instances is None:
            from .instances import Instances  # with what pickles calls

            self.instances = Instances(self.run, self, self.services)
        return self.instances.start(spec, lane, args, kwargs)

    def stop(self, service: Service) -> asyncio.Future[None]:
        """Stop *service*; return a future that is done when it has ended."""
        if service.listener is not None and not self._pumping:
            # Its methods that were called before, and wait for nothing, come before its end.
            self._pumping = True
            if self.run.journal is not None:
                self.run.journal.look_again()
            try:
                self._send(len(self._scheduler.ready) + len(self._scheduler.first))
                if self.run.full:
                    self._submit()
            finally:
                self._pumping = False
            self._inbox.wake()
        return self.services.stop(service)

    def fetch(self, future: Node) -> None:
        """Fetch the value of *future* from the place where it was made."""
        self.outcomes.fetch(cast(RemoteTaskFuture[Any], future))

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call *observer* with every event from now on.

        Returns:
            A function that ends this.
        """
        self.want_running()
        return self._observers.add(observer)

    def count(
        self, display: Observer, changed: Callable[[], None]
    ) -> tuple[Census, Callable[[], None]]:
        """Count the tasks for a display, as `Observers.count` says."""
        self.take_reports()
        unfinished = cast("list[TaskFuture[Any]]", self._scheduler.unfinished())
        return self._observers.count(display, changed, unfinished)

    def want_running(self) -> None:
        """Let RUNNING reports wake the loop from now on, because somebody needs their times."""
        self.run.want_running()

    async def wait_idle(self) -> None:
        """Wait until no task is unfinished."""
        while not self._scheduler.idle:
            if self._idle is None or self._idle.done():
                self._idle = self._loop.create_future()
            await asyncio.shield(self._idle)
        self._idle = None
