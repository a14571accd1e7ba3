"""Put prepared tasks into the next batch of their backend, or let them wait again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._task.future import TaskFuture
from ..backend import Report, TaskRequest
from ..backend._inbox import LOST
from ..backend._lane import Lane
from ..errors import BackendError, BackendLostError, CycleError
from ..model import TaskState
from .outcomes import Outcomes
from .run import Run

__all__ = ["Outbox"]

PENDING, SUBMITTED = TaskState.PENDING, TaskState.SUBMITTED
DONE, FAILED = TaskState.DONE, TaskState.FAILED


class Outbox:
    """The way to a batch for those tasks of a run that `sending` does not send itself."""

    def __init__(self, run: Run, outcomes: Outcomes) -> None:
        self._run = run
        self._outcomes = outcomes
        self._scheduler = run.scheduler

    def enqueue(
        self,
        node: TaskFuture[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        command: Any = None,
        refs: tuple[int, ...] = (),
    ) -> None:
        """Put the prepared *node* into the next batch of its backend."""
        run = self._run
        lane: Lane = node._lane
        run.wake()
        if lane.lost is not None:
            failover = self._outcomes.failover
            if failover is not None:
                failover.take_over(node)
            else:
                self._outcomes.attempt_failed(node, lane.lost)
            return
        spec = node._spec
        if run.carriage is not None and command is None:
            spec, args = run.carriage.pack(node, args)
        context = node._context if command is None and lane.contexts else None
        request = TaskRequest(
            node._number, node._attempt, spec, args, kwargs, command, refs, context, node._depth
        )
        if not lane.batch:
            run.full.append(lane)
        lane.batch.append(request)
        self._scheduler.submitted(node)
        if run.observers.events is not None:
            run.observers.tell(node, SUBMITTED)

    def fail_batch(self, lane: Lane, batch: Sequence[TaskRequest], cause: Exception) -> None:
        """Fail every task of *batch*, because the backend of *lane* raised *cause* in `submit`."""
        run = self._run
        failover = self._outcomes.failover
        if failover is not None and isinstance(cause, BackendLostError):
            failover.refuse(lane, batch)
            # Behind all that the backend reported, such as its loss.
            run.report([Report(LOST, lane.index, FAILED, (cause, ()))])
            return
        error = BackendError(f"backend {lane.name!r} refused the task: {cause}")
        error.__cause__ = cause
        run.report(Report(request.task_id, request.attempt, FAILED, error) for request in batch)

    def wait_more(self, node: TaskFuture[Any], unfinished: Iterable[TaskFuture[Any]]) -> None:
        """Let *node*, which was about to be sent, wait for *unfinished* after all."""
        running_here = [future for future in unfinished if future._stage is not DONE]
        arguments = None if node._extras is None else node._extras.arguments
        if arguments is not None and arguments.dependencies is not None:
            arguments.dependencies.update(future._number for future in running_here)
        elsewhere = [future for future in unfinished if future._stage is DONE]
        try:
            ended = self._scheduler.wait_more(node, running_here, holds=len(elsewhere))
        except CycleError as error:
            self._outcomes.resolve(self._scheduler.fail(node, error))
            return
        self._outcomes.resolve(ended)
        for future in elsewhere:
            # The value is on another backend: the callback has it fetched, then the task goes on.
            future.add_done_callback(lambda _: self._outcomes.guard(node, self.release, node))

    def release(self, node: TaskFuture[Any]) -> None:
        """Let *node* go on, because something that it waited for, and that is no task, is done."""
        if node._stage is PENDING:
            self._scheduler.release(node)
            self._run.wake()

    def end_without_arguments(self, node: TaskFuture[Any], error: BaseException) -> None:
        """End *node* with *error*, which was raised when its arguments were put together."""
        if isinstance(error, asyncio.CancelledError):
            self._outcomes.resolve(self._scheduler.cancel(node))
        else:
            self._outcomes.resolve(self._scheduler.fail(node, error))
