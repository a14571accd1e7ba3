"""Follow services: commands that are done when they are up, and run on.

For the scheduler a service is a task like any other until it is up.  From then on its task is
finished, and what its backend reports of it comes here: it was stopped, or it died.  One that may
be started again is called once more, as a task of its own; whoever needs the service waits for
that.  After a death for good, the future of the service counts as failed, so that later calls that
depend on it fail.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any

from .._task.call import Call
from .._task.future import TaskFuture
from .._task.scope import SCOPE
from .._task.service import Phase, Service, ServiceFuture, ServiceInfo
from .._text import safe_message
from ..backend import AnyReport, ExecutableResult, Serving
from ..backend._lane import Lane
from ..errors import (
    BackendError,
    EngineClosedError,
    ExecutableError,
    ServiceLostError,
    ServiceStoppedError,
)
from ..model import RetryPolicy, TaskSpec, TaskState
from ..model._command import DeathResult
from .outcomes import CANCEL_PATIENCE_S, Outcomes
from .run import Run

__all__ = ["Services"]

log = logging.getLogger("radical.asyncflow")

SUBMITTED, DONE, FAILED = TaskState.SUBMITTED, TaskState.DONE, TaskState.FAILED

Register = Callable[[Call, tuple[Any, ...], Mapping[str, Any], "str | None"], TaskFuture[Any]]


class _Start:
    """The arguments with which a service is started again."""

    __slots__ = ("args", "call", "context", "kwargs", "workflow_id")

    def __init__(self, node: TaskFuture[Any]) -> None:
        self.call = node._call
        self.args = node._args
        self.kwargs = node._kwargs
        self.context = node._context
        self.workflow_id = node.workflow_id


class Services:
    """The services of one run.

    Args:
        register: makes a task, as `Dispatcher.register`.
    """

    def __init__(self, run: Run, outcomes: Outcomes, register: Register) -> None:
        self._run = run
        self._outcomes = outcomes
        self._register = register
        self._running: dict[int, Service] = {}

    # ------------------------------------------------------------------- begin

    def make_future(self, spec: TaskSpec) -> ServiceFuture:
        """Make the future of a call that starts a service."""
        future: ServiceFuture = ServiceFuture(loop=self._run.loop)
        future._service = Service(future, spec.restarts)
        return future

    def take_serving(self, report: AnyReport) -> None:
        """Take in what a backend tells of a service: that it has begun, or is up."""
        number, attempt, serving = report[3]
        node: Any = self._run.scheduler.tasks.get(number)
        if not isinstance(node, ServiceFuture) or node._attempt != attempt:
            log.debug("dropped a report about task %s, which starts no service now", number)
            return
        assert isinstance(serving, Serving)
        service = node._service
        service.serving = serving
        extras = node._extras
        is_ending = extras is not None and extras.ending is not None
        if serving.info is not None and node._stage >= SUBMITTED and not is_ending:
            service.command = str(extras.command) if extras is not None else service.name
            self.note_up(service, ServiceInfo.of(serving.info, service), report[4])

    def note_up(self, service: Service, info: Any, when: float | None = None) -> None:
        """Let the task that starts *service* succeed with *info*."""
        node = service.host
        service.info = info
        service.phase = Phase.UP
        if node is not service.future:
            service.restarts_left -= node._attempt - 1
        elif service.restarts_left:
            service.start = _Start(node)
        self._running[node._number] = service
        self._outcomes.complete(node, info, when)
        self._run.observers.tell_service(node, "up", None, when)

    # --------------------------------------------------------------------- end

    def take_trace(self, report: AnyReport) -> bool:
        """Take in what a running service did; return False if *report* is about none."""
        number, attempt, _, trace, _ = report
        service = self._running.get(number)
        if service is None or service.host._attempt != attempt:
            return False
        if self._run.journal is not None:
            service.host._entry.trace = trace
        return True

    def take_end(self, report: AnyReport) -> bool:
        """Take in the end of a running service; return False if *report* is about no such end."""
        number, attempt, state, value, when = report
        service = self._running.get(number)
        if service is None or state < DONE or service.host._attempt != attempt:
            return False
        self._remove(service, value, when)
        if isinstance(value, ExecutableResult):
            error = self._error_of(service, value)
        elif isinstance(value, BaseException):
            error = value
        else:
            error = None
        self._ended(service, error)
        return True

    def _remove(self, service: Service, value: object = None, when: float | None = None) -> None:
        """Count *service*, whose task reported *value*, as running no more."""
        del self._running[service.host._number]
        if self._run.journal is not None:
            result = value if isinstance(value, ExecutableResult) else None
            self._run.journal.service_ended(service.host, service.serving, result, when)

    def lose(self, lane: Lane) -> None:
        """End the services that ran on *lane*, because its backend is gone.

        With failover one that may be started again is, on another backend.
        """
        for service in list(self._running.values()):
            if service.host._lane is lane:
                self._remove(service)
                if self._outcomes.failover is None:
                    service.restarts_left = 0
                self._ended(service, lane.lost)

    def _error_of(self, service: Service, result: ExecutableResult) -> BaseException | None:
        if not result.exit_code:
            return None
        death = (result.reason, result.evidence) if isinstance(result, DeathResult) else ()
        written = _written(service)
        return ExecutableError(service.command, result.exit_code, *written, *death)

    def _ended(self, service: Service, cause: BaseException | None) -> None:
        """Decide what follows the end of *service*."""
        if service.phase is Phase.STOPPING or self._run.closed:
            self._finish(service, ServiceStoppedError(service.name), "stopped")
            return
        if cause is None:
            how = "ended (exit code 0)"
        elif isinstance(cause, ExecutableError):
            how = f"was lost: {cause.summary}"
        else:
            how = f"was lost: {safe_message(cause)}"
        lost = ServiceLostError(service.name, how, *_written(service))
        lost.__cause__ = cause
        # What it has written stays out of the log.
        more = ", and is started again" if service.restarts_left else ""
        log.warning("service %r %s%s", service.name, how, more)
        if service.restarts_left:
            self._restart(service, lost)
        else:
            self._finish(service, lost, "lost")

    def _restart(self, service: Service, error: BaseException) -> None:
        service.restarts_left -= 1
        service.phase = Phase.STARTING
        left = service.restarts_left
        start = service.start
        self._run.observers.tell_service(service.host, "restarted", error)
        # Failures before it is up again count as deaths.
        call = start.call.with_retries(RetryPolicy.of(left))
        if service.listener is not None:
            service.listener.down(error)
        context = Context() if start.context is None else start.context.copy()
        context.run(SCOPE.set, None)
        try:
            host = context.run(self._register, call, start.args, start.kwargs, start.workflow_id)
        except (EngineClosedError, RuntimeError) as refused:
            error.add_note(f"it could not be started again: {refused}")
            self._finish(service, error, "lost")
            return
        assert isinstance(host, ServiceFuture)
        host._service = service
        service.host = host
        host.add_done_callback(lambda _: self._start_ended(service, host))

    def _start_ended(self, service: Service, host: ServiceFuture) -> None:
        """End *service* if *host*, which was to start it, did not."""
        if service.phase is Phase.UP:
            return
        failure = None if host.cancelled() else TaskFuture.exception(host)
        if service.phase is Phase.STOPPING:
            self._finish(service, ServiceStoppedError(service.name), "stopped")
        elif service.phase is Phase.STARTING and host is not service.future:
            why = "it was cancelled" if failure is None else safe_message(failure)
            lost = ServiceLostError(service.name, f"died and did not come up again: {why}")
            lost.__cause__ = failure
            self._finish(service, lost, "lost")

    def _finish(self, service: Service, error: BaseException, state: str) -> None:
        """Let everything that needs *service* fail with *error* from now on."""
        service.phase = Phase.ENDED
        service.error = error
        service.start = None
        future = service.future
        if future._stage is DONE:
            future._stage = FAILED
            future._origin = (future.name, error)
        if state == "lost":
            self._run.observers.tell_service(service.host, "lost", error)
        else:
            self._run.observers.tell_service(service.host, "stopped")
        if service.listener is not None:
            service.listener.ended(error)
        if service.ended is not None and not service.ended.done():
            service.ended.set_result(None)

    # -------------------------------------------------------------------- stop

    def stop(self, service: Service) -> asyncio.Future[None]:
        """Stop *service*; return a future that is done when it has ended."""
        if service.ended is None:
            service.ended = self._run.loop.create_future()
            if service.phase is Phase.ENDED or (
                service.phase is Phase.STARTING and service.host.done()
            ):
                service.ended.set_result(None)
        if service.phase is Phase.UP:
            service.phase = Phase.STOPPING
            if service.listener is None:
                self.end_host(service)
            else:
                service.listener.stop()
        elif service.phase is Phase.STARTING and not service.host.done():
            service.phase = Phase.STOPPING
            host = service.host
            if host is service.future:
                host.add_done_callback(lambda _: self._start_ended(service, host))
            self._outcomes.end(host)
        return service.ended

    def end_host(self, service: Service) -> None:
        """Have the backend end the task that runs *service*, which is being stopped."""
        node = service.host
        self._outcomes.ask_to_cancel(node._lane, [node])
        self._run.take_reports()
        if service.ended is not None and not service.ended.done():
            timer = self._run.loop.call_later(CANCEL_PATIENCE_S, self._give_up, service)
            service.ended.add_done_callback(lambda _: timer.cancel())

    def lose_one(self, service: Service, why: str) -> None:
        """End *service*, which is gone although its backend did not say so."""
        node = service.host
        if node._number in self._running:
            self._remove(service)
            self._outcomes.ask_to_cancel(node._lane, [node])
            self._ended(service, BackendError(why))

    def _give_up(self, service: Service) -> None:
        """Call *service* ended, although its backend did not say so."""
        if service.host._number in self._running:
            self._remove(service)
            log.warning(
                "backend %r did not end service %r within %g s",
                *(service.host.backend, service.name, CANCEL_PATIENCE_S),
            )
            self._finish(service, ServiceStoppedError(service.name), "stopped")

    async def close(self, patience: float) -> None:
        """Stop all services, and wait for that for at most *patience* seconds."""
        ends = [self.stop(service) for service in list(self._running.values())]
        if ends:
            _, left = await asyncio.wait(ends, timeout=patience)
            if left:
                log.warning("%d services did not end within %g s", len(left), patience)


def _written(service: Service) -> tuple[str, str]:
    return service.output("stdout"), service.output("stderr")
