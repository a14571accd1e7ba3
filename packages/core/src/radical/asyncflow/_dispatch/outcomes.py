"""Decide what follows the end of an attempt: a result, a retry, a failure or a cancellation.

This is the only place that decides what happens next to a task that was sent or begun.  The
scheduler tells it which other tasks are affected.  `reports` handles one case itself, the
most frequent one: a plain function that succeeded.

Where a method takes *when*, that is the time of the event as its report states it, in seconds
of `time.monotonic`; None stands for now.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from .._graph.scheduler import Resolution
from .._task.future import (
    Activity,
    Ending,
    EndReason,
    Extras,
    RemoteTaskFuture,
    TaskFuture,
    Timer,
    clear,
    extras_of,
    set_cancelled,
    set_exception,
    set_result,
)
from .._task.service import ServiceFuture
from .._text import error_line, safe_message, safe_repr
from ..backend import RemoteValue, Report, TaskId
from ..backend._lane import Lane
from ..errors import (
    BackendError,
    BackendLostError,
    BackendStartError,
    DependencyFailureError,
    ExecutableError,
    FileError,
    ServiceLostError,
    ServiceTimeoutError,
    TaskExitError,
    TaskTimeoutError,
)
from ..model import Answer, Command, ExecutableResult, TaskKind, TaskState
from ..model._command import DeathResult
from ..model._retry import retry_delay
from .background import Background
from .heirs import Heirs, note_arguments
from .run import Run, TakingOver

if TYPE_CHECKING:
    from .._files.declared import FileSet
    from .._task.call import Call

__all__ = ["Outcomes"]

log = logging.getLogger("radical.asyncflow")

PENDING, READY = TaskState.PENDING, TaskState.READY
SUBMITTED, RUNNING, DONE = TaskState.SUBMITTED, TaskState.RUNNING, TaskState.DONE
CANCELLED = TaskState.CANCELLED

CANCELLATION = Ending(EndReason.CANCEL)

CANCEL_PATIENCE_S = 30.0
"""Seconds that a backend has to end cancelled work; then the future ends without it."""


class Outcomes:
    """The judge of how the tasks of one run end.

    Attributes:
        make_halt_error: makes the error of a task that `halt` ends; None before `halt`.
        failover: moves tasks to the next backend when one is lost, if the user wants that.
    """

    def __init__(self, run: Run, background: Background) -> None:
        self._run = run
        self._scheduler = run.scheduler
        self._targets = run.targets
        self._observers = run.observers
        self._background = background
        self._heirs = Heirs()
        self.failover: TakingOver | None = None
        self.make_halt_error: Callable[[TaskFuture[Any]], BaseException] | None = None

    # ----------------------------------------------------------------- success

    def work_started(
        self, node: TaskFuture[Any], worker: str | None, when: float | None = None
    ) -> None:
        """Note that *worker* began with *node*, and start the timeout of *node*."""
        timeout = node._spec.timeout
        if self._run.journal is not None:
            self._run.journal.started(node, worker, when)
        if worker is not None and (self._observers.events is not None or node._extras is not None):
            extras_of(node).worker = worker
        if timeout is not None and (extras := extras_of(node)).ending is None:
            extras.timer = self._later(timeout, node, self.end, Ending(EndReason.TIMEOUT))

    def work_done(self, node: TaskFuture[Any], value: Any, when: float | None = None) -> None:
        """Judge *value*, which the backend reported as the result of *node*."""
        if node._extras is None and not isinstance(value, ExecutableResult):
            self.complete(node, value, when)
            return
        extras = extras_of(node)
        if extras.ending is not None:
            self.work_ended(node, when)
            return
        if isinstance(value, ExecutableResult):
            extras.result = value
            if value.exit_code:
                error = ExecutableError(
                    _command_line(node),
                    value.exit_code,
                    *_output_texts(node, value),
                    *((value.reason, value.evidence) if isinstance(value, DeathResult) else ()),
                )
                self.attempt_failed(node, error, when)
                return
            if node._spec.service:
                lost = ServiceLostError(
                    node.name, "ended (exit code 0) before it was up", *_output_texts(node, value)
                )
                self.attempt_failed(node, lost, when)
                return
            value = value.stdout
        elif type(value) is str and node._spec.kind is TaskKind.PROMPT:
            value = Answer(value)
        files, lane = extras.files, node._lane
        if files is not None and files.all_outputs and lane is not None and lane.executes:
            extras.stop_timer()
            ended = monotonic() if when is None else when
            self._background.work_for(
                node,
                Activity.DELIVER_OUTPUTS,
                self._deliver_outputs(node, extras, files, value, ended),
            )
            return
        self.complete(node, value, when)

    async def _deliver_outputs(
        self, node: TaskFuture[Any], extras: Extras, files: FileSet, value: Any, when: float
    ) -> None:
        """Move the outputs of *node* to their places and complete it, or fail the attempt.

        Its slot was free at *when* already, so the task counts as ended then.  If *value* is, or
        contains, a path that the task got for an output, it becomes the place.
        """
        # here, because most programs have no files
        from .._files.delivery import replace_paths
        from .._files.staging import deliver_outputs

        command = extras.command
        try:
            if isinstance(value, RemoteValue):
                remote, value = value, await value.fetch()
                remote.release()
            folder = self._run.folder(node)
            delivered = await deliver_outputs(files, folder, self._place_of_output(node))
            places = {one.written: one.value for one in delivered}
            if isinstance(command, Command) and command.result is not None:
                value = places[str(command.result)]
            else:
                value = replace_paths(value, places)
        except Exception as error:
            await self.value_lost(node, error, when)
        else:
            extras.work = None
            extras.outputs = {
                name: path
                for one in delivered
                for name, path in zip(one.names, one.paths, strict=True)
            }
            self.complete_in_loop(node, value, when)

    def _place_of_output(self, node: TaskFuture[Any]) -> Callable[[str], Path]:
        """Return the function that finds the place of an output of *node* by its name."""
        targets = self._run.targets

        def place(name: str) -> Path:
            path = targets.path(name)
            holder = targets.other_holder(node, path)
            if holder is not None:
                raise FileError(
                    f"the output {name!r} also belongs to {holder.id} {holder.name!r}, which is "
                    "not finished"
                )
            return path

        return place

    def complete_in_loop(
        self, node: TaskFuture[Any], value: Any, when: float | None = None
    ) -> None:
        """Complete *node*, whose work ended in this loop, unless *node* is being ended."""
        if node._stage < DONE:
            if extras_of(node).ending is not None:
                self.work_ended(node, when)
            else:
                self.complete(node, value, when)
            self._run.wake()

    def complete(self, node: TaskFuture[Any], value: Any, when: float | None = None) -> None:
        """Let *node* succeed, but with a journal only after its record was written."""
        if isinstance(value, RemoteValue) and not isinstance(node, RemoteTaskFuture):
            # It was called for a backend that keeps no values, and moved to one that does.
            extras_of(node).stop_timer()
            ended = monotonic() if when is None else when
            self._background.work_for(node, Activity.FETCH, self._bring(node, value, ended))
            return
        journal = self._run.journal
        if journal is None or not journal.record_result(node, value, when):
            self.settle(node, value, when)

    async def _bring(self, node: TaskFuture[Any], remote: RemoteValue, when: float) -> None:
        """Fetch the value of *node*, whose future cannot leave it elsewhere, and complete it."""
        try:
            value = await remote.fetch()
        except Exception as error:
            await self.value_lost(node, error, when)
        else:
            extras_of(node).work = None
            self.complete_in_loop(node, value, when)
        finally:
            remote.release()

    async def value_lost(self, node: TaskFuture[Any], error: BaseException, when: float) -> None:
        """Run *node* again, or fail it: it had finished at *when*, but *error* took its value."""
        failover, lane = self.failover, node._lane
        again = (
            failover is not None
            and isinstance(error, BackendLostError)
            and await failover.is_lost(lane)
        )
        extras = extras_of(node)
        extras.work = None
        call = node._call
        if again and extras.ending is None and not self._run.closed and self._move(node):
            self._retry(node, call, error, 0.0, when)
        else:
            self.attempt_failed(node, error, when)

    def _move(self, node: TaskFuture[Any]) -> bool:
        """Let *node* go to another backend if its own is lost; return False if none can run it."""
        failover, lane = self.failover, node._lane
        return failover is None or lane is None or lane.lost is None or failover.move(node)

    def settle(self, node: TaskFuture[Any], value: Any, when: float | None = None) -> None:
        """Let *node* succeed with *value*, and resolve its future."""
        was = node._stage
        self._scheduler.succeed(node)
        failover = self.failover
        if failover is not None and isinstance(node, RemoteTaskFuture):
            failover.remember(node)
        clear(node)
        if self._targets.held:
            self._targets.release(node)
        if isinstance(node, RemoteTaskFuture) and isinstance(value, RemoteValue):
            node._remote = value
            if node._wanted:
                self.fetch(node)
        else:
            set_result(node, value)
        if self._observers.watched:
            self._observers.succeeded(node, was, when)

    def fetch(self, future: RemoteTaskFuture[Any]) -> None:
        """Fetch the value of *future*, which stayed on the backend that made it."""
        remote = future._remote
        assert remote is not None

        async def fetch_value() -> None:
            try:
                try:
                    value = await remote.fetch()
                except BackendLostError as error:
                    if self.failover is None:
                        raise
                    value = await self.failover.value_again(future, error)
            except asyncio.CancelledError:
                set_cancelled(future, "the engine was shut down")
                raise
            except BaseException as error:
                if not future.done():
                    set_exception(future, _as_failure(future, error))
                if not isinstance(error, Exception):
                    raise
            else:
                # It also stays there as long as the future is held, so that tasks there need
                # not get it back from here.
                if not future.done():
                    set_result(future, value)

        self._background.spawn(fetch_value())

    # ---------------------------------------------------------------- failures

    def attempt_failed(
        self, node: TaskFuture[Any], error: BaseException, when: float | None = None
    ) -> None:
        """Retry *node* or fail it, because an attempt failed on the backend or in this loop."""
        if node._stage >= DONE or self._run.awaits_record(node):
            return
        if not isinstance(error, BaseException):
            error = BackendError(
                f"the backend reported a failure without an exception: {safe_repr(error)}"
            )
        extras = node._extras
        if extras is not None:
            if extras.ending is not None:
                self.work_ended(node, when)
                return
            extras.stop_timer()
            if extras.work is not None and extras.work.task is not asyncio.current_task():
                extras.stop_work()
                extras.work = None
        self._retry_or_fail(node, _as_failure(node, error), when)

    def _retry_or_fail(
        self, node: TaskFuture[Any], error: BaseException, when: float | None
    ) -> None:
        delay = None
        call = node._call
        if not self._run.closed:
            try:
                delay = retry_delay(node._spec.retries, node._attempt, error, random.random())
            except KeyboardInterrupt:
                raise
            except BaseException as broken:  # the policy is the user's code
                error = _policy_failed(node, broken, error)
        if delay is not None and not self._move(node):
            delay = None
        if delay is not None and node._spec.resources_of is not None:
            try:
                node._call = node._call.for_attempt(node._attempt + 1)
            except Exception as broken:  # no backend has so much, or the user's function raised
                broken.add_note(
                    f"after attempt {node._attempt} failed with the error that is the cause"
                )
                broken.__cause__ = error
                delay, error = None, broken
                node._call = call
        if delay is None:
            self.resolve(self._scheduler.fail(node, error), when)
            return
        self._retry(node, call, error, delay, when)

    def _retry(
        self,
        node: TaskFuture[Any],
        call: Call,
        error: BaseException,
        delay: float,
        when: float | None,
    ) -> None:
        """Start another attempt of *node* after *delay* seconds.

        *error* ended the last one, which was a *call*.
        """
        if node._extras is not None:
            node._extras.work = None  # a timeout may have ended it
        if self._run.journal is not None:
            self._run.journal.attempt_failed(node, error, when)
        was = node._stage
        self._scheduler.retry(node, now=not delay)
        self._run.wake()
        if delay:
            timer = self._later(delay, node, self._start_retry)
            extras_of(node).timer = timer._replace(failure=error_line(error))
        if self._observers.watched:
            self._observers.retried(node, call, was, error, when)

    def _start_retry(self, node: TaskFuture[Any]) -> None:
        extras_of(node).timer = None
        self._scheduler.requeue(node)
        self._run.wake()

    def lose(
        self,
        lane: Lane,
        error: BaseException,
        unbegun: Collection[TaskId] = (),
        when: float | None = None,
    ) -> None:
        """Fail an attempt of every task that *lane* holds, because its backend is gone.

        A backend that never came up, although its start had ended, is gone by a
        `BackendStartError`.

        Args:
            unbegun: the tasks that have certainly not begun there, which failover moves.
        """
        if lane.lost is not None:
            return  # it said so before
        if not isinstance(error, BackendLostError | BackendStartError):
            lost = BackendLostError(f"backend {lane.name!r} was lost: {safe_message(error)}")
            lost.__cause__ = error
            error = lost
        lane.lost = error
        moved = 0
        if self.failover is not None:
            moved = self.failover.lose(lane, error, unbegun, when)
        if self._observers.watched:
            self._observers.tell_backend_down(lane, error, when, moved)
        if self._run.journal is not None:
            self._run.journal.backend_lost(lane.name, error, moved)
        if self.failover is not None:
            return
        held = [
            cast(TaskFuture[Any], node)
            for node in self._scheduler.tasks.values()
            if node._lane is lane and (node._stage is SUBMITTED or node._stage is RUNNING)
        ]
        for node in held:
            self.guard(node, self.attempt_failed, node, error, when)

    def engine_failed(self, node: TaskFuture[Any], error: BaseException) -> None:
        """Fail *node* with *error*, which the engine itself raised while it handled the task.

        The future ends whatever state the error left behind, because a future that never ends
        is worse than a task that fails.
        """
        log.error(
            "the engine failed while it handled task %s %r; please report this",
            node.id,
            node.name,
            exc_info=error,
        )
        error.add_note(f"raised by the engine itself while it handled task {node.name!r}")
        try:
            if node._stage < DONE:
                self.resolve(self._scheduler.fail(node, error))
        except Exception:
            log.exception("task %s %r could not be removed from the graph", node.id, node.name)
        if not node.done():
            set_exception(node, error)

    def guard(self, node: TaskFuture[Any], step: Callable[..., object], *args: Any) -> None:
        """Call *step*, and fail *node* with the error that it raises, if it raises one.

        This is for callbacks: the loop would only log their errors and leave the future
        pending.
        """
        try:
            step(*args)
        except Exception as error:
            self.engine_failed(node, error)

    def _later(
        self, seconds: float, node: TaskFuture[Any], step: Callable[..., object], *args: Any
    ) -> Timer:
        return Timer(self._run.loop.call_later(seconds, self.guard, node, step, node, *args))

    # ------------------------------------------------------------ cancellation

    def end(self, node: TaskFuture[Any], ending: Ending = CANCELLATION) -> None:
        """End *node*: cancel it, time it out, or halt it with the run."""
        self._run.take_reports()
        stage = node._stage
        if stage >= DONE:
            if not node.done():
                # The task is done and its value elsewhere: only the fetch is cancelled.
                set_cancelled(node, ending.message)
            return
        if stage is PENDING or stage is READY:
            extras_of(node).ending = ending
            self.resolve(self._scheduler.cancel(node))
            return
        extras = extras_of(node)
        if extras.ending is not None:
            was = extras.ending.reason
            if ending.reason is EndReason.CANCEL and was is EndReason.TIMEOUT:
                # The attempt is being ended already; from now on there is no retry.
                extras.ending = ending
            return
        extras.ending = ending
        extras.stop_timer()
        lane: Lane | None = node._lane
        if lane is None:
            self.cancel_members(node)
            extras.stop_work()
        elif extras.work is not None or self._run.awaits_record(node):
            extras.stop_work()
            self.work_ended(node)
        else:
            self._end_remotely(node, extras, lane)

    def _end_remotely(self, node: TaskFuture[Any], extras: Extras, lane: Lane) -> None:
        """Let the backend end the work of *node*, and wait for that if the backend can end it."""
        self.ask_to_cancel(lane, [node])
        self._run.take_reports()
        if node._stage >= DONE or extras.ending is None:
            return
        if node._spec.kind in lane.capabilities.kills_running:
            extras.timer = self._later(CANCEL_PATIENCE_S, node, self._give_up)
        else:
            self.work_ended(node)

    def _give_up(self, node: TaskFuture[Any]) -> None:
        log.warning(
            "backend %r did not end the work of %s %r within %g s; the future ends without it",
            node.backend,
            node.id,
            node.name,
            CANCEL_PATIENCE_S,
        )
        self.work_ended(node)

    def ask_to_cancel(self, lane: Lane, nodes: Sequence[TaskFuture[Any]]) -> None:
        """Have the backend of *lane* end the tasks *nodes*."""
        if lane.batch:
            self._take_back(lane, nodes)
        try:
            lane.backend.cancel([node._number for node in nodes])
        except Exception:
            log.exception("backend %r raised in cancel()", lane.name)
            for node in nodes:
                if node._number in self._scheduler.tasks:
                    self.work_ended(node)

    def _take_back(self, lane: Lane, nodes: Sequence[TaskFuture[Any]]) -> None:
        """Keep what the backend of *lane* has not got yet of *nodes* from it."""
        mine = {node._number: node for node in nodes}
        kept = []
        for request in lane.batch:
            node: Any = mine.get(request.task_id)
            if node is None:
                kept.append(request)
                continue
            node._attempt -= 1  # this attempt was never made
            if not node.done():
                self._run.report([Report(request.task_id, node._attempt, CANCELLED, None)])
        lane.batch = kept

    def work_ended(self, node: TaskFuture[Any], when: float | None = None) -> None:
        """Resolve *node*, whose work was ended, by the engine or by the backend on its own."""
        extras = extras_of(node)
        extras.stop_timer()
        reason = None if extras.ending is None else extras.ending.reason
        if reason is EndReason.TIMEOUT:
            extras.ending = None
            self._retry_or_fail(node, _timeout_error(node), when)
        elif reason is EndReason.HALT and self.make_halt_error is not None:
            self.resolve(self._scheduler.fail(node, self.make_halt_error(node)), when)
        else:
            self.resolve(self._scheduler.cancel(node), when)

    def resolve(self, ended: Sequence[Resolution], when: float | None = None) -> None:
        """Resolve the futures of *ended*, and let the backends cancel what was sent for them."""
        withdrawn: dict[Lane, list[TaskFuture[Any]]] = {}
        for index, resolution in enumerate(ended):
            node = resolution.node
            if index and resolution.was >= SUBMITTED and node._lane is not None:
                withdrawn.setdefault(node._lane, []).append(cast(TaskFuture[Any], node))
            self._resolve_one(resolution, when, first=not index)
        for lane, nodes in withdrawn.items():
            self.ask_to_cancel(lane, nodes)
        self._run.wake()

    def _resolve_one(self, resolution: Resolution, when: float | None, *, first: bool) -> None:
        future: Any = resolution.node
        _, state, error, was, _, _ = resolution
        extras: Extras | None = future._extras
        message = None
        if extras is not None:
            message = None if extras.ending is None else extras.ending.message
            extras.stop_timer()
            extras.stop_work()
            self.cancel_members(future)
        if first and error is not None and self._run.journal is not None:
            self._run.journal.keep_arguments(future)
        if first and isinstance(error, DependencyFailureError):
            note_arguments(future)
        clear(future)
        self._targets.release(future)
        if was is PENDING or (was is READY and (not first or error is None)):
            future._attempt -= 1  # this attempt was never made
        if self._run.journal is not None:
            self._run.journal.ended(future, state, error, when)
        if self._observers.watched:
            arguments = None
            if error is not None and self._run.journal is not None:
                arguments = future._entry.arguments
            self._observers.ended(future, was, state, error, when, arguments)
        if future.done():
            return
        if error is not None:
            set_exception(future, error)
            if future._spec.fire_and_forget:
                _log_failure(future, error)
            elif self._heirs.note(resolution, error):
                future._log_traceback = False  # a dependent tells of it
        else:
            set_cancelled(future, message)

    def cancel_members(self, node: TaskFuture[Any]) -> None:
        """Cancel the unfinished tasks that the block *node* called."""
        extras = node._extras
        if extras is None:
            return
        members, extras.members = extras.members, None
        for member in sorted(members or (), key=lambda member: member._number):
            if not member.done():
                self.end(member)

    def cancel_all(self) -> None:
        """Cancel every unfinished task."""
        for node in self._scheduler.unfinished():
            if node._stage < DONE:
                self.end(cast(TaskFuture[Any], node))

    def abandon(self) -> None:
        """Cancel every unfinished future without waiting for its work."""
        for node in self._scheduler.unfinished():
            if node._stage < DONE:
                _warn_unfinished(cast(TaskFuture[Any], node))
                self.resolve(self._scheduler.cancel(node))


def _as_failure(node: TaskFuture[Any], error: BaseException) -> BaseException:
    """Return *error*, or a `TaskExitError` if raising it would end more than the task."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = TaskExitError(node.name, error)
    wrapped.__cause__ = error
    return wrapped


def _policy_failed(
    node: TaskFuture[Any], broken: BaseException, error: BaseException
) -> BaseException:
    """Return the error of *node*, whose retry policy raised *broken* when asked about *error*."""
    if broken is error:
        return error  # the policy raised the error that it was asked about
    broken.add_note(
        f"raised by the retry policy of task {node.name!r}; the task's own error is the cause"
    )
    broken.__cause__ = error
    return _as_failure(node, broken)


def _timeout_error(node: TaskFuture[Any]) -> TaskTimeoutError:
    timeout = node._spec.timeout or 0.0
    if isinstance(node, ServiceFuture):
        written = (node._service.output(stream) for stream in ("stdout", "stderr"))
        error = ServiceTimeoutError(node.name, timeout, *written)
        if node._spec.kind is TaskKind.EXECUTABLE:
            error.add_note(f"it is up when {node._spec.readiness.describe()}")
        return error
    return TaskTimeoutError(node.name, timeout)


def _warn_unfinished(node: TaskFuture[Any]) -> None:
    """Log that *node* did not end in time, and what the engine was doing for it."""
    work = None if node._extras is None else node._extras.work
    detail = "" if work is None else f": {work.activity.value}"
    log.warning("task %s %r did not end in time%s", node.id, node.name, detail)


def _log_failure(node: TaskFuture[Any], error: BaseException) -> None:
    """Log the failure of *node*, which nobody has to await; no "never retrieved" follows."""
    log.error("task %s %r failed, and nobody has to await it", node.id, node.name, exc_info=error)
    node._log_traceback = False


def _command_line(node: TaskFuture[Any]) -> str:
    return str(node._extras.command) if node._extras is not None else node.name


def _output_texts(node: TaskFuture[Any], result: ExecutableResult) -> tuple[str, str]:
    if node._spec.capture_stdio:
        return f"(in {result.stdout})", f"(in {result.stderr})"
    return result.stdout, result.stderr
