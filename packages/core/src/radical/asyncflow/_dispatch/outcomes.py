"""What the end of an attempt becomes: a result, another attempt, a failure, a cancellation.

Everything here runs in the engine's loop and decides with the scheduler's help; the
dispatcher handles the common case, a plain function that succeeded, itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from .._graph.scheduler import Resolution
from .._task.future import Aux, RemoteTaskFuture, TaskFuture, aux_of, clear
from .._text import safe_repr
from ..backend import RemoteValue
from ..backend._lane import Lane
from ..errors import (
    BackendError,
    BackendLostError,
    DependencyFailureError,
    ExecutableError,
    TaskExitError,
    TaskTimeoutError,
)
from ..model import ExecutableResult, TaskState
from ..model._retry import retry_delay

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

__all__ = ["Outcomes"]

log = logging.getLogger("radical.asyncflow")

READY, SUBMITTED, RUNNING = TaskState.READY, TaskState.SUBMITTED, TaskState.RUNNING
DONE, FAILED, PENDING = TaskState.DONE, TaskState.FAILED, TaskState.PENDING

PATIENCE = 30.0
"""Seconds that a backend has to end cancelled work before the future ends without it."""


class Outcomes:
    """The ends of one engine's tasks.

    Attributes:
        halting: makes the error of a task that a `Halt` ends.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._scheduler = dispatcher.scheduler
        self._observers = dispatcher.observers
        self._loop = dispatcher.loop
        self.halting: Callable[[TaskFuture[Any]], BaseException] | None = None

    def began(self, node: TaskFuture[Any], worker: str | None) -> None:
        """A worker began with *node*: its timeout starts."""
        timeout = node.spec.timeout
        if self._dispatcher.journal is not None:
            self._dispatcher.journal.started(node, worker)
        if worker is not None and (self._observers.events is not None or node.aux is not None):
            aux_of(node).worker = worker
        if timeout is not None and (aux := aux_of(node)).ending is None:
            aux.timer = self._loop.call_later(timeout, self.end, node, "timeout")

    def done(self, node: TaskFuture[Any], value: Any) -> None:
        """A backend reported *node* done."""
        if node.aux is None and not isinstance(value, ExecutableResult):
            self.complete(node, value)
            return
        aux = aux_of(node)
        if aux.ending is not None:
            self.ended(node)
            return
        if isinstance(value, ExecutableResult):
            aux.result = value
            if value.exit_code:
                error = ExecutableError(_line(node), value.exit_code, *_tails(node, value))
                self.attempt_failed(node, error)
                return
            value = value.stdout
        if aux.files is not None and node.lane is not None and node.lane.executes:
            if aux.timer is not None:
                aux.timer.cancel()
            self._dispatcher.preparer.check_outputs(node, value)
            return
        self.complete(node, value)

    def complete(self, node: TaskFuture[Any], value: Any) -> None:
        """*node* succeeded; with a journal, for good once that is written."""
        journal = self._dispatcher.journal
        if journal is not None:
            if isinstance(node, RemoteTaskFuture) and isinstance(value, RemoteValue):
                self._fetch_and_complete(node, value)
                return
            if journal.commit(node, value):
                return
        self.settle(node, value)

    def settle(self, node: TaskFuture[Any], value: Any) -> None:
        """*node* succeeded for good."""
        self._scheduler.succeed(node)
        clear(node)
        if isinstance(node, RemoteTaskFuture) and isinstance(value, RemoteValue):
            node.remote = value
            if node.wanted:
                self.fetch(node)
        else:
            asyncio.Future.set_result(node, value)
        if self._observers.events is not None:
            self._observers.tell(node, DONE)

    def _fetch_and_complete(self, node: TaskFuture[Any], remote: RemoteValue) -> None:
        """Bring a value here that the journal is to have, and leave it there for tasks there."""

        async def bring() -> None:
            try:
                value = await remote.fetch()
            except Exception as error:
                aux_of(node).preparing = None
                remote.release()
                self.attempt_failed(node, error)
                return
            aux_of(node).preparing = None
            if isinstance(node, RemoteTaskFuture):
                node.remote = remote
                node.wanted = True  # it is here
            self.complete(node, value)

        aux_of(node).preparing = self._dispatcher.preparer.spawn(bring())

    def fetch(self, future: RemoteTaskFuture[Any]) -> None:
        """Bring a value here that stayed where it was made."""
        remote = future.remote
        assert remote is not None

        async def bring() -> None:
            try:
                value = await remote.fetch()
            except asyncio.CancelledError:
                asyncio.Future.cancel(future, "the engine was shut down")
                raise
            except BaseException as error:
                if not future.done():
                    asyncio.Future.set_exception(future, _as_failure(future, error))
                if not isinstance(error, Exception):
                    raise
            else:
                # It stays there too, while the future is held: tasks there need not get
                # it back from here.
                if not future.done():
                    asyncio.Future.set_result(future, value)

        self._dispatcher.preparer.spawn(bring())

    # ---------------------------------------------------------------- failures

    def attempt_failed(self, node: TaskFuture[Any], error: BaseException) -> None:
        """An attempt failed, on a backend or in this loop: run it again, or fail it for good."""
        if node.stage >= DONE or self._is_waiting(node):
            return
        if not isinstance(error, BaseException):
            error = BackendError(
                f"the backend reported a failure without an exception: {safe_repr(error)}"
            )
        aux = node.aux
        if aux is not None:
            if aux.ending is not None:
                self.ended(node)
                return
            if aux.timer is not None:
                aux.timer.cancel()
                aux.timer = None
            if aux.preparing is not None and aux.preparing is not asyncio.current_task():
                aux.preparing.cancel()
                aux.preparing = None
        self._retry_or_fail(node, _as_failure(node, error))

    def _retry_or_fail(self, node: TaskFuture[Any], error: BaseException) -> None:
        delay = None
        if not self._dispatcher.closed:
            try:
                delay = retry_delay(node.spec.retries, node.attempt, error, random.random())
            except Exception as bad:
                bad.add_note(f"raised by the retry policy of task {node.name!r}")
                error = bad
        if delay is None:
            self.resolve(self._scheduler.fail(node, error))
            return
        if self._dispatcher.journal is not None:
            self._dispatcher.journal.attempt_failed(node, error)
        self._scheduler.retry(node, now=not delay)
        self._dispatcher.wake()
        if delay:
            aux = aux_of(node)
            aux.timer = self._loop.call_later(delay, self._again, node)
        if self._observers.events is not None:
            self._observers.tell(node, READY, error)

    def _again(self, node: TaskFuture[Any]) -> None:
        aux_of(node).timer = None
        self._scheduler.requeue(node)
        self._dispatcher.wake()

    def lose(self, lane: Lane, error: BaseException) -> None:
        """The backend is gone, and every task that it held with it."""
        if not isinstance(error, BackendLostError):
            lost = BackendLostError(f"backend {lane.name!r} was lost: {error}")
            lost.__cause__ = error
            error = lost
        lane.lost = error
        if self._observers.events is not None:
            self._observers.tell_down(lane, error)
        held = [
            cast(TaskFuture[Any], node)
            for node in self._scheduler.tasks.values()
            if node.lane is lane and (node.stage is SUBMITTED or node.stage is RUNNING)
        ]
        for node in held:
            self.attempt_failed(node, error)

    # ------------------------------------------------------------ cancellation

    def end(self, node: TaskFuture[Any], why: str, message: Any = None) -> None:
        """Cancel *node*, or time it out."""
        self._dispatcher.absorb()
        stage = node.stage
        if stage >= DONE:
            if not node.done():
                # Done, with its value elsewhere: only the fetch is given up.
                asyncio.Future.cancel(node, message)
            return
        if stage is PENDING or stage is READY:
            aux_of(node).message = message
            self.resolve(self._scheduler.cancel(node))
            return
        aux = aux_of(node)
        if aux.ending is not None:
            if why == "cancel" and aux.ending == "timeout":
                # The attempt is being ended already; now there shall be no other.
                aux.ending, aux.message = why, message
            return
        aux.ending = why
        aux.message = message
        if aux.timer is not None:
            aux.timer.cancel()
            aux.timer = None
        lane: Lane | None = node.lane
        if lane is None:
            self._cancel_members(aux)
            if aux.preparing is not None:
                aux.preparing.cancel()
            return
        if aux.preparing is not None or self._is_waiting(node):
            if aux.preparing is not None:
                aux.preparing.cancel()
            self.ended(node)
            return
        self._tell_backend(lane, [node.number])
        self._dispatcher.absorb()
        if node.stage >= DONE or aux.ending is None:
            return
        if node.spec.kind in lane.capabilities.kills_running:
            aux.timer = self._loop.call_later(PATIENCE, self._impatient, node)
        else:
            self.ended(node)

    def _impatient(self, node: TaskFuture[Any]) -> None:
        log.warning(
            "backend %r did not end the work of %s %r within %g s; its future ends now",
            node.backend,
            node.id,
            node.name,
            PATIENCE,
        )
        self.ended(node)

    def _tell_backend(self, lane: Lane, numbers: Sequence[int]) -> None:
        try:
            lane.backend.cancel(numbers)
        except Exception:
            log.exception("backend %r raised when it was asked to cancel", lane.name)
            for number in numbers:
                node: Any = self._scheduler.tasks.get(number)
                if node is not None:
                    self.ended(node)

    def ended(self, node: TaskFuture[Any]) -> None:
        """*node*'s work is over because it was told to end (or the backend says so)."""
        aux = aux_of(node)
        if aux.timer is not None:
            aux.timer.cancel()
            aux.timer = None
        if aux.ending == "timeout":
            aux.ending = None
            self._retry_or_fail(node, TaskTimeoutError(node.name, node.spec.timeout or 0.0))
        elif aux.ending == "halt" and self.halting is not None:
            self.resolve(self._scheduler.fail(node, self.halting(node)))
        else:
            self.resolve(self._scheduler.cancel(node))

    def _is_waiting(self, node: TaskFuture[Any]) -> bool:
        """Whether *node* is done but for its record."""
        return self._dispatcher.journal is not None and node.entry.waiting

    def resolve(self, ended: Sequence[Resolution]) -> None:
        """Give the futures of *ended* their ends, and withdraw what was sent for them."""
        withdrawn: dict[Lane, list[int]] = {}
        journal = self._dispatcher.journal
        for place, (node, state, error, was, inherited) in enumerate(ended):
            future: Any = node
            aux = future.aux
            message = None
            if aux is not None:
                message = aux.message
                if aux.timer is not None:
                    aux.timer.cancel()
                if aux.preparing is not None:
                    aux.preparing.cancel()
                self._cancel_members(aux)
            if place and was >= SUBMITTED and node.lane is not None:
                withdrawn.setdefault(node.lane, []).append(node.number)
            clear(future)
            if was is PENDING or (was is READY and (place or error is None)):
                future.attempt -= 1  # this attempt was never made
            if journal is not None:
                journal.ended(future, state, error)
            if future.done():
                continue
            if error is not None:
                asyncio.Future.set_exception(future, error)
                if inherited:
                    # Its dependents carry the failure on: no "never retrieved" for this one.
                    future._log_traceback = False
            else:
                asyncio.Future.cancel(future, message)
            if self._observers.events is not None:
                self._observers.tell(future, state, error)
        for lane, numbers in withdrawn.items():
            self._tell_backend(lane, numbers)
        self._dispatcher.wake()

    def _cancel_members(self, aux: Aux) -> None:
        members, aux.members = aux.members, None
        for member in sorted(members or (), key=lambda member: member.number):
            if not member.done():
                self.end(member, "cancel")

    def cancel_all(self) -> None:
        """Cancel every unfinished task."""
        for node in self._scheduler.unfinished():
            if node.stage < DONE:
                self.end(cast(TaskFuture[Any], node), "cancel")

    def abandon(self) -> None:
        """End every future that is left, whatever its work does."""
        for node in self._scheduler.unfinished():
            if node.stage < DONE:
                log.warning("task %s %r did not end in time", node.number, node.spec.name)
                self.resolve(self._scheduler.cancel(node))

    # ------------------------------------ tasks that are under way in this loop

    def block_began(self, node: TaskFuture[Any]) -> None:
        self._scheduler.submitted(node)
        self._scheduler.running(node)
        if self._observers.events is not None:
            self._observers.tell(node, RUNNING)
        if node.spec.timeout is not None or self._dispatcher.journal is not None:
            self.began(node, None)

    def block_failed(self, node: TaskFuture[Any], error: BaseException) -> None:
        """A block's body raised; what it began is cancelled."""
        if node.aux is not None:
            self._cancel_members(node.aux)
        self.attempt_failed(node, error)

    # ------------------------------------------- what the preparer has to tell

    def finish(self, node: TaskFuture[Any], value: Any) -> None:
        """*node* came to its end in this loop: a block, or the check of output files."""
        if node.stage < DONE:
            if aux_of(node).ending is not None:
                self.ended(node)
            else:
                self.complete(node, value)
            self._dispatcher.wake()

    def finish_cancelled(self, node: TaskFuture[Any]) -> None:
        """What *node* did in this loop was cancelled."""
        if node.stage < DONE:
            self.ended(node)
            self._dispatcher.wake()

    def foreign_failed(
        self, node: TaskFuture[Any], awaited: asyncio.Future[Any], error: BaseException
    ) -> None:
        """An awaitable of somebody else's, among *node*'s arguments, failed."""
        if isinstance(awaited, TaskFuture):  # of another engine
            name = awaited.name
        else:
            name = awaited.get_name() if isinstance(awaited, asyncio.Task) else repr(awaited)
        failure = DependencyFailureError(node.name, [name], name, error)
        failure.__cause__ = error
        self.resolve(self._scheduler.fail(node, failure))


def _as_failure(node: TaskFuture[Any], error: BaseException) -> BaseException:
    """*error*, or what stands for it where raising it would end more than the task."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = TaskExitError(node.name, error)
    wrapped.__cause__ = error
    return wrapped


def _line(node: TaskFuture[Any]) -> str:
    return str(node.aux.command) if node.aux is not None else node.name


def _tails(node: TaskFuture[Any], result: ExecutableResult) -> tuple[str, str]:
    if node.spec.capture_stdio:
        return f"(in {result.stdout})", f"(in {result.stderr})"
    return result.stdout, result.stderr
