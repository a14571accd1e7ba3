"""A backend whose every step a test decides: events are ordered without sleeping."""

from __future__ import annotations

import asyncio
import heapq
import inspect
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Collection, Coroutine, Iterable, Sequence
from contextvars import copy_context
from typing import Any, Protocol

from .._public import public
from ..backend import (
    Capabilities,
    Command,
    ExecutableResult,
    ExecutionBackend,
    Prompt,
    RemoteValue,
    ReportSink,
    Serving,
    TaskId,
    TaskKind,
    TaskRef,
    TaskRequest,
)
from ..errors import BackendLostError, DependencyFailureError, TaskExitError
from ..worker._call import check_result

__all__ = ["ScriptedBackend", "ScriptedValue"]


class _Numbered(Protocol):
    _number: int


_Key = tuple[TaskId, int]
"""A task and its attempt, because an old attempt may still run when the next one comes."""

_Which = TaskId | str | _Numbered
"""A task's id, its name, or its future."""


@public("radical.asyncflow.testing")
class ScriptedBackend(ExecutionBackend):
    """A backend that runs tasks in the engine's loop, by itself or step by step as a test says.

    Left alone it runs each task soon after `submit`: a plain function inline in the
    loop, an async one as an asyncio task.  With ``priorities`` it begins one task in each
    turn of the loop, the first in the order of the contract.  It answers a command or a
    prompt with its own text.  What was held with `hold` waits in the queue until `release`
    lets it go, or until the test leads it by hand with `start_task`, `put_out`, `finish`,
    `fail` and
    `confirm_cancel`.  A test names a task by its number, by its name (the earliest
    unfinished one) or by its future.  Call all methods in the loop's thread.

    Attributes:
        sink: the engine's, for reports that no method here makes.
        submitted: every request, in the order of arrival.
        batches: the sizes of the batches they came in.
        cancelled_ids: every id that `cancel` was called with, in order.
        fetched: with ``remote_results``, how often each task's value was fetched.
        released: ids whose remote value was released.
    """

    def __init__(
        self,
        *,
        name: str = "scripted",
        kinds: Collection[TaskKind] = (TaskKind.FUNCTION,),
        kills_running: Collection[TaskKind] | None = None,
        resources: Collection[str] = (),
        native_dependencies: bool = False,
        remote_results: bool = False,
        chains: bool = False,
        quick: bool = False,
        isolates: bool = True,
        service: bool = False,
        prompts: Collection[str] = (),
        priorities: bool = False,
    ) -> None:
        """Make a backend whose `cancel` ends running tasks of the kinds in *kills_running* only."""
        self.name = name
        self.capabilities = Capabilities(
            kinds=kinds,
            kills_running=kinds if kills_running is None else kills_running,
            resources=resources,
            native_dependencies=native_dependencies,
            remote_results=remote_results,
            chains=chains,
            quick=quick,
            isolates=isolates,
            contexts=TaskKind.FUNCTION in map(TaskKind, kinds),
            service=service,
            prompts=prompts,
            priorities=priorities,
        )
        self.submitted: list[TaskRequest] = []
        self.batches: list[int] = []
        self.cancelled_ids: list[TaskId] = []
        self.fetched: Counter[TaskId] = Counter()
        self.released: list[TaskId] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sink: ReportSink
        self._orders = native_dependencies or chains
        self._hold_all = False
        self._held: set[TaskId | str] = set()
        self._queue: dict[_Key, TaskRequest] = {}
        self._line: list[tuple[float, int, int, TaskRequest]] | None = [] if priorities else None
        self._has_turn = False  # it is about to begin the first of the line
        self._running: dict[_Key, TaskRequest] = {}
        self._tasks: dict[_Key, asyncio.Task[None]] = {}
        self._unstepped: set[_Key] = set()
        self._cancelling: set[_Key] = set()
        self._values: dict[TaskId, Any] = {}
        self._failures: dict[TaskId, tuple[str, BaseException]] = {}
        self._idle: asyncio.Event

    # The contract.

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        # `shutdown` takes the attribute `sink` away, and reports the last ends afterwards.
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        assert self._loop is not None
        self.batches.append(len(batch))
        for request in batch:
            self.submitted.append(request)
            self._queue[_key(request)] = request
            self._failures.pop(request.task_id, None)
            self._idle.clear()
            if self._line is None:
                self._loop.call_soon(self._begin, request)
            else:
                if not self._has_turn:
                    self._has_turn = True
                    self._loop.call_soon(self._begin_first)
                heapq.heappush(self._line, (*_order(request), len(self.submitted), request))

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        self.cancelled_ids.extend(task_ids)
        for request in (*self._queue.values(), *self._running.values()):
            if request.task_id in task_ids:
                self._stop(request, request.spec.kind in self.capabilities.kills_running)

    async def shutdown(self, *, cancel: bool = True) -> None:
        await super().shutdown(cancel=cancel)
        if self._loop is None:
            return
        if cancel:
            for request in (*self._queue.values(), *self._running.values()):
                self._stop(request, True)
        else:
            self.release()
        # What is led by hand has nobody left to end it.
        for request in tuple(self._running.values()):
            if _key(request) not in self._tasks:
                self._stop(request, True)
        await self._idle.wait()
        self._values.clear()

    # The script.

    def hold(self, *which: _Which) -> None:
        """Keep these in the queue from now on, if they have not begun; all if none is named."""
        self._hold_all = self._hold_all or not which
        self._held.update(map(_name, which))

    def release(self, *which: _Which) -> None:
        """Let these run by themselves after all; all that are held if none is named."""
        if not which:
            self._hold_all = False
            self._held.clear()
            chosen: Iterable[TaskRequest] = tuple(self._queue.values())
        else:
            self._held.difference_update(map(_name, which))
            chosen = [self._find(item, self._queue) for item in which]
        if self._line is not None:
            chosen = sorted(chosen, key=_order)
        for request in chosen:
            self._begin(request, released=bool(which))

    def start_task(self, which: _Which, worker: str | None = None) -> None:
        """Report it RUNNING, without running anything; then it is led by hand."""
        request = self._find(which, self._queue)
        self._running[_key(request)] = self._queue.pop(_key(request))
        self._sink.running(*_key(request), worker)

    def serve(self, which: _Which, serving: Serving) -> None:
        """Report what there is to know of a service that runs; with an info it is up."""
        self._sink.serving(*_key(self._find(which, self._running)), serving)

    def put_out(self, which: _Which, text: str, offset: int = 0) -> None:
        """Tell observers a part of what it puts out, with *offset* characters before it."""
        self._sink.output(*_key(self._find(which, self._running)), text, offset)

    def finish(self, which: _Which, value: Any = None) -> None:
        """Report it DONE with *value*; its function is not called."""
        self._done(self._take(which), value)

    def fail(self, which: _Which, error: BaseException) -> None:
        """Report it FAILED with *error*; its function is not called."""
        request = self._take(which)
        self._sink.failed(*_key(request), error)
        self._ended(request, error)

    def confirm_cancel(self, which: _Which) -> None:
        """Report it CANCELLED: the end of the work that `cancel` asked for."""
        self._cancelled(self._take(which))

    def lose(self, error: BaseException | None = None) -> None:
        """Report the whole backend lost, as when a scheduler dies.

        Running work is dropped, and so are values that stayed here.  What waits in the queue
        is reported as not begun.
        """
        error = error or BackendLostError(f"backend {self.name!r} was lost by its script")
        self._sink.lost(error, self.waiting())
        self._queue.clear()
        self._running.clear()
        self._values.clear()
        for task in self._tasks.values():
            task.cancel()
        self._settle()

    def waiting(self) -> list[TaskId]:
        """Return the ids in the queue, oldest first."""
        return [task_id for task_id, _ in self._queue]

    def running(self) -> list[TaskId]:
        """Return the ids that have begun and not ended, oldest first."""
        return [task_id for task_id, _ in self._running]

    # How a task runs.

    def _begin_first(self) -> None:
        assert self._line is not None
        assert self._loop is not None
        *_, request = heapq.heappop(self._line)
        try:
            self._begin(request)
        finally:
            # Behind what the engine does with the report.
            self._has_turn = bool(self._line)
            if self._has_turn:
                self._loop.call_soon(self._begin_first)

    def _begin(self, request: TaskRequest, released: bool = False) -> None:
        key = _key(request)
        if key not in self._queue:
            return
        names = self._held.intersection((request.task_id, request.spec.name))
        held = self._hold_all or bool(names)
        if held and not released:
            return
        failures = [self._failures.get(item) for item in request.dependencies]
        if failed := [failure for failure in failures if failure is not None]:
            self._queue.pop(key)
            self._not_run(request, failed)
            return
        if not all(item in self._values for item in request.dependencies):
            return
        self._running[key] = self._queue.pop(key)
        self._sink.running(*key, self.name)
        context = copy_context() if request.context is None else request.context.copy()
        try:
            value = context.run(self._call, request)
            check_result(value)
        except BaseException as error:
            self._raised(request, error)
            return
        if inspect.iscoroutine(value):
            assert self._loop is not None
            self._unstepped.add(key)
            self._tasks[key] = self._loop.create_task(self._await(request, value), context=context)
        else:
            self._returned(request, value)

    def _call(self, request: TaskRequest) -> Any:
        if isinstance(request.command, Command):
            return ExecutableResult(0, str(request.command))
        if isinstance(request.command, Prompt):
            return request.command.text
        args = self._resolve(tuple(request.args)) if request.dependencies else request.args
        kwargs = self._resolve(dict(request.kwargs)) if request.dependencies else request.kwargs
        return request.spec.function(*args, **kwargs)

    async def _await(self, request: TaskRequest, body: Coroutine[Any, Any, Any]) -> None:
        self._unstepped.discard(_key(request))
        try:
            value = await body
            check_result(value)
        except BaseException as error:
            self._raised(request, error)
        else:
            self._returned(request, value)
        finally:
            body.close()

    def _resolve(self, value: Any) -> Any:
        """Return *value* with the results of its TaskRefs in place."""
        if isinstance(value, TaskRef):
            return self._values[value.task_id]
        if type(value) in (dict, defaultdict, OrderedDict):
            resolved = {self._resolve(key): self._resolve(item) for key, item in value.items()}
            if type(value) is defaultdict:
                return defaultdict(value.default_factory, resolved)
            return type(value)(resolved)
        if type(value) is deque:
            return deque(map(self._resolve, value), value.maxlen)
        if type(value) in (list, tuple, set, frozenset):
            return type(value)(map(self._resolve, value))
        return value

    def _stop(self, request: TaskRequest, kill: bool) -> None:
        """Cancel what waits; what runs, if *kill* says so."""
        key = _key(request)
        if self._queue.pop(key, None) is not None:
            self._cancelled(request)
        elif kill and key in self._tasks:
            if key not in self._cancelling:
                self._cancelling.add(key)
                if key in self._unstepped:
                    # A task that is cancelled before its first step would end unnoticed.
                    assert self._loop is not None
                    self._loop.call_soon(self._tasks[key].cancel)
                else:
                    self._tasks[key].cancel()
        elif kill and self._running.pop(key, None) is not None:
            self._cancelled(request)

    # How a task ends.

    def _returned(self, request: TaskRequest, value: Any) -> None:
        if self._running.pop(_key(request), None) is not None:
            self._done(request, value)
        else:
            # `lose` has answered for it.
            self._ended(request, None)

    def _raised(self, request: TaskRequest, error: BaseException) -> None:
        key = _key(request)
        if self._running.pop(key, None) is None:
            self._ended(request, error)
        elif isinstance(error, asyncio.CancelledError) and key in self._cancelling:
            self._cancelled(request)
        else:
            if isinstance(error, StopIteration) or not isinstance(error, Exception):
                stand_in = TaskExitError(request.spec.name, error)
                stand_in.__cause__ = error
                error = stand_in
            self._sink.failed(*key, error)
            self._ended(request, error)

    def _not_run(self, request: TaskRequest, failed: Sequence[tuple[str, BaseException]]) -> None:
        root, cause = failed[0]
        names = [name for name, _ in failed]
        error = DependencyFailureError(request.spec.name, names, root, cause)
        error.__cause__ = cause
        self._sink.failed(*_key(request), error)
        self._ended(request, cause)

    def _cancelled(self, request: TaskRequest) -> None:
        self._sink.cancelled(*_key(request))
        self._ended(request, asyncio.CancelledError())

    def _done(self, request: TaskRequest, value: Any) -> None:
        if self._orders or self.capabilities.remote_results:
            self._values[request.task_id] = value
        if self.capabilities.remote_results and request.command is None:
            value = ScriptedValue(self, request.task_id)
        self._sink.done(*_key(request), value)
        self._ended(request, None)

    def _ended(self, request: TaskRequest, error: BaseException | None) -> None:
        self._tasks.pop(_key(request), None)
        self._cancelling.discard(_key(request))
        if self._orders:
            if error is not None:
                self._failures[request.task_id] = (request.spec.name, error)
            for dependent in tuple(self._queue.values()):
                if request.task_id in dependent.dependencies:
                    self._begin(dependent)
        self._settle()

    def _settle(self) -> None:
        if not self._queue and not self._running and not self._tasks:
            self._idle.set()

    def _take(self, which: _Which) -> TaskRequest:
        request = self._find(which, self._running | self._queue)
        self._running.pop(_key(request), None)
        self._queue.pop(_key(request), None)
        return request

    def _find(self, which: _Which, among: dict[_Key, TaskRequest]) -> TaskRequest:
        name = _name(which)
        for request in among.values():
            if name in (request.task_id, request.spec.name):
                return request
        known = ", ".join(f"{item.spec.name} ({item.task_id})" for item in among.values())
        raise LookupError(f"no such task here: {name!r} (there are: {known or 'none'})")


class ScriptedValue(RemoteValue):
    """A result that stays with a `ScriptedBackend`, which counts the fetches."""

    def __init__(self, backend: ScriptedBackend, task_id: TaskId) -> None:
        self._backend = backend
        self._task_id = task_id

    async def fetch(self) -> Any:
        if self._task_id in self._backend.released:
            raise BackendLostError(f"the value of task {self._task_id} was released before")
        self._backend.fetched[self._task_id] += 1
        try:
            return self._backend._values[self._task_id]
        except KeyError:
            raise BackendLostError(f"the value of task {self._task_id} is lost") from None

    def release(self) -> None:
        self._backend.released.append(self._task_id)
        self._backend._values.pop(self._task_id, None)


def _order(request: TaskRequest) -> tuple[float, int]:
    """Return what is smaller for a request that begins first."""
    return -request.spec.priority, -request.depth


def _key(request: TaskRequest) -> _Key:
    return request.task_id, request.attempt


def _name(which: _Which) -> TaskId | str:
    """Return the number or the name by which a script means a task."""
    return which if isinstance(which, int | str) else which._number
