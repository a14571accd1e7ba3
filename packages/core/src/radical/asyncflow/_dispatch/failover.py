"""Go on with the next backend when one is lost.

What is known to have not begun there goes to the next backend that can run it, as the same
attempt.  What began, or may have begun, is a failed attempt: its ``retries`` decide whether
it runs again, and where it does, that is on the next backend.  So nothing begins twice
without ``retries``, with one exception: a task that had finished, and whose value was only on
the lost backend, runs again when somebody needs the value.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, cast

from .._graph.arguments import NESTED
from .._task.call import Call
from .._task.future import Arguments, RemoteTaskFuture, TaskFuture, extras_of
from .._text import count, error_line, safe_message
from ..backend import TaskId, TaskRequest
from ..backend._lane import Lane
from ..errors import AsyncFlowError, BackendLostError
from ..model import TaskState
from .background import Background
from .lineage import Register, compute_again, keep_lineage
from .outcomes import Outcomes
from .routing import lanes_that_can
from .run import Run

__all__ = ["Failover"]

log = logging.getLogger("radical.asyncflow")

PENDING, READY = TaskState.PENDING, TaskState.READY
SUBMITTED, RUNNING, DONE = TaskState.SUBMITTED, TaskState.RUNNING, TaskState.DONE

LOSS_PATIENCE_S = 10.0
"""Seconds in which a value that cannot be had may be the first sign of a lost backend."""

StartNext = Callable[[Lane], Awaitable[Lane] | None]


class Failover:
    """The move of the tasks of one run to the next backend.

    It is the `TakingOver` of its `Run`; the methods are described there.

    Args:
        bind: makes the call of a task on a lane.
        register: makes a task that computes a lost value again.
        start_next: begins to start the backend that was given in place of a lost one; returns
            None if there is none.
    """

    def __init__(
        self,
        run: Run,
        background: Background,
        outcomes: Outcomes,
        *,
        bind: Callable[[Any, Lane], Call],
        register: Register,
        start_next: StartNext,
    ) -> None:
        self._run = run
        self._background = background
        self._outcomes = outcomes
        self._bind = bind
        self._register = register
        self._start_next = start_next
        self._elsewhere: dict[Call, Call] = {}
        self._starting: asyncio.Task[None] | None = None
        self._parked: list[TaskFuture[Any]] = []
        self._refused: defaultdict[Lane, set[TaskId]] = defaultdict(set)
        self._losses: dict[Lane, asyncio.Event] = {}

    # -------------------------------------------------------------------- loss

    def lose(
        self,
        lane: Lane,
        error: BaseException,
        unbegun: Collection[TaskId],
        when: float | None = None,
    ) -> int:
        """Move what *lane* held; return the number of tasks that go on elsewhere."""
        unbegun = {*unbegun, *self._refused.pop(lane, ()), *(each[0] for each in lane.batch)}
        lane.batch = []
        if lane in self._run.full:
            self._run.full.remove(lane)
        waiting: list[TaskFuture[Any]] = []
        begun: list[TaskFuture[Any]] = []
        for node in map(_as_future, self._run.scheduler.tasks.values()):
            if node._lane is not lane or not (node._stage is SUBMITTED or node._stage is RUNNING):
                continue
            extras = node._extras
            if self._run.awaits_record(node) or (extras is not None and extras.work is not None):
                continue  # the work is done: only its result is on its way
            ending = extras is not None and extras.ending is not None
            is_waiting = node._number in unbegun and node._stage is SUBMITTED and not ending
            (waiting if is_waiting else begun).append(node)
        self._begin_next(lane)  # before anything fails because it has no place
        self._withdraw(waiting)
        while behind := [node for node in begun if node._blockers > 0]:
            # What a task waits for has not begun, so that it has not begun either.
            self._withdraw(behind)
            waiting += behind
            begun = [node for node in begun if not node._blockers]
        if self._starting is None:
            # All at once, so that what belongs together is sent together.
            for node in map(_as_future, self._run.scheduler.tasks.values()):
                if node._lane is lane and (node._stage is PENDING or node._stage is READY):
                    extras = node._extras
                    if extras is None or extras.work is None:
                        self.move(node)
        for node in begun:
            self._outcomes.guard(node, self._outcomes.attempt_failed, node, error, when)
        again = sum(node._stage < DONE for node in begun)
        moved = sum(node._stage < DONE for node in waiting)
        self._tell(lane, error, moved, again, len(begun) - again)
        if lane in self._losses:
            self._losses.pop(lane).set()
        self._run.wake()
        return moved + again

    def _withdraw(self, nodes: Sequence[TaskFuture[Any]]) -> None:
        for node in nodes:
            self._run.observers.withdrawn(node)
        self._run.scheduler.withdraw(nodes)

    def _tell(self, lane: Lane, error: BaseException, moved: int, again: int, ended: int) -> None:
        log.warning(
            "backend %r was lost (%s): %s that had not begun there and %s that may run again go "
            "on with the next backend, %s ended",
            lane.name,
            error_line(error),
            count(moved, "task"),
            count(again, "task"),
            count(ended, "task"),
        )

    def refuse(self, lane: Lane, batch: Sequence[TaskRequest]) -> None:
        """Note that *lane* is lost and did not take *batch*, so that no task of it has begun."""
        numbers = [request.task_id for request in batch]
        if lane.lost is None:
            self._refused[lane].update(numbers)
            return
        tasks = self._run.scheduler.tasks
        nodes = [tasks[number] for number in numbers if number in tasks]
        self._run.scheduler.withdraw([node for node in nodes if node._stage is SUBMITTED])
        self._run.wake()

    # -------------------------------------------------------------- next place

    def take_over(self, node: TaskFuture[Any]) -> None:
        """Give *node*, which is ready and whose backend is lost, to another one, or fail it."""
        if node._lane.index < 0:
            # It is a method of a service, which lives in one place.
            self._outcomes.attempt_failed(node, node._lane.lost)
        elif self._starting is not None:
            self._parked.append(node)
        elif self.move(node):
            self._run.scheduler.requeue(node)
            self._run.wake()
        else:
            self._outcomes.attempt_failed(node, self._no_place(node))

    def move(self, node: TaskFuture[Any]) -> bool:
        """Let *node* belong to the next backend that can run it; return False if none can."""
        if node._lane.index < 0:
            return False  # a method of a service
        call = self._call_elsewhere(node._call)
        if call is None:
            return self._starting is not None
        node._call = call
        if call.in_context and node._context is None:
            node._context = Context()
        if call.native and node._binding == NESTED:
            # What it waited for is done.  What was put into its arguments since the call is
            # not, and it has to wait for that too.
            extras = extras_of(node)
            extras.arguments = extras.arguments or Arguments()
            extras.arguments.dependencies = set()
        if call.remote and not isinstance(node, RemoteTaskFuture):
            extras_of(node)  # so that its value, which may stay there, is looked at
        return True

    def _call_elsewhere(self, call: Call) -> Call | None:
        """Return the same task on the next backend that can run it; None if there is none."""
        found = self._elsewhere.get(call)
        if found is not None and found.lane is not None and found.lane.lost is None:
            return found
        able, _ = lanes_that_can(call.spec, self._live_lanes())
        if not able:
            return None
        self._elsewhere[call] = made = self._bind(call.asked, able[0])
        return made

    def _live_lanes(self) -> list[Lane]:
        return [lane for lane in self._run.lanes.values() if lane.lost is None and lane.since]

    def _no_place(self, node: TaskFuture[Any]) -> BackendLostError:
        """Return the error of *node*, whose backend is lost and which no other can run."""
        lost = node._lane.lost
        _, reasons = lanes_that_can(node._spec, self._live_lanes())
        prefix = f"task {node.name!r}: "
        why = "; ".join(str(reason).removeprefix(prefix) for reason in reasons)
        error = BackendLostError(
            f"{safe_message(lost)}; task {node.name!r} does not go on elsewhere, because "
            f"{why or 'no other backend is left'}"
        )
        error.__cause__ = lost
        return error

    def _begin_next(self, lane: Lane) -> None:
        """Begin to start the backend that was given in place of *lane*, if there is any."""
        if self._starting is not None or self._run.closed:
            return
        starting = self._start_next(lane)
        if starting is None:
            return

        async def start() -> None:
            up = None
            try:
                up = await starting
            except AsyncFlowError as error:
                log.warning("no backend takes the place of %r: %s", lane.name, error)
            finally:
                self._starting = None
                if up is not None:
                    self._run.observers.tell_backend_up(up)
                parked, self._parked = self._parked, []
                for node in parked:
                    self._run.scheduler.requeue(node)
                self._run.wake()

        self._starting = self._background.spawn(start())

    # ------------------------------------------------------------------ values

    async def is_lost(self, lane: Lane) -> bool:
        """Wait until *lane* is lost, for at most `LOSS_PATIENCE_S`; tell whether it is."""
        if lane.lost is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOSS_PATIENCE_S):
                    await self._losses.setdefault(lane, asyncio.Event()).wait()
        return lane.lost is not None

    def remember(self, node: RemoteTaskFuture[Any]) -> None:
        """Keep how the value of *node* was made, as long as it is only on its backend."""
        keep_lineage(node)

    async def value_again(self, future: RemoteTaskFuture[Any], error: BaseException) -> Any:
        """Compute the value of *future* again, which could not be had because of *error*.

        Raises:
            BaseException: *error* if the backend is not lost, or the error of the new run.
        """
        if future._lineage is None or not await self.is_lost(future._lane):
            raise error
        # In an empty context, because the task belongs to no block.
        return await Context().run(compute_again, future._lineage, self._register)


def _as_future(node: object) -> TaskFuture[Any]:
    return cast(TaskFuture[Any], node)
