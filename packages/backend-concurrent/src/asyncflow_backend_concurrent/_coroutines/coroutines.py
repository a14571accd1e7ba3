"""Async functions in one event loop, as asyncio tasks: for work that waits.

The loop runs in a thread of its own, beside the program's, so that the work holds up neither
the program nor the engine.  The thread starts with the first function.

What the program's side hands over stands in `Coroutines._waiting` until the loop takes it; a
cancel that finds it there is reported at once.  Everything else happens in the loop's thread.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import heapq
import itertools
import logging
import sys
import threading
from collections.abc import Callable, Collection, Coroutine, Generator, Iterable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any

from radical.asyncflow.backend import Report, ReportSink, TaskId, TaskRequest, TaskState
from radical.asyncflow.worker import TaskContext, call_async, current_task

from .._slots.queue import Order, order_of
from .watch import Watch

if TYPE_CHECKING:
    from radical.asyncflow.backend import Wait

__all__ = ["Coroutines"]

_STUCK_S = 0.5  # that a cancelled function may run on, until another one takes its place
_LEFT_LIMIT_S = 5.0  # for asyncio tasks that a function left behind to obey their cancellation
_CANCELLED = TaskState.CANCELLED

_log = logging.getLogger("radical.asyncflow.concurrent")


class _Attempt(TaskContext):
    """One attempt at one task, from its turn to its report.

    Attributes:
        task: the asyncio task that runs it.
        children: the asyncio tasks that its function made and that have not ended.
        error, value: the outcome, once its function has ended.
        ended: whether its function has ended.
        is_abandoned: whether it was reported though it had not ended.
        has_place: whether it counts among those that run at once.
        relief: the timer that gives its place to another one.
    """

    __slots__ = (
        "children",
        "ended",
        "error",
        "has_place",
        "is_abandoned",
        "relief",
        "request",
        "task",
        "value",
    )

    def __init__(self, request: TaskRequest) -> None:
        super().__init__(request.spec.name, request.task_id, request.attempt)
        self.request = request
        self.task: asyncio.Task[None] | None = None
        self.children: set[asyncio.Task[Any]] = set()
        self.error: BaseException | None = None
        self.value: Any = None
        self.ended = self.is_abandoned = False
        self.has_place = True
        self.relief: asyncio.TimerHandle | None = None


class Coroutines:
    """Runs async functions, at most *limit* at once.

    Args:
        sink: where it reports.
        watch_s: a function that holds the loop for longer than this is named in a warning.
    """

    def __init__(
        self, sink: ReportSink, *, name: str, limit: int, grace: float, watch_s: float = 5.0
    ) -> None:
        self._sink = sink
        self._name = f"{name}-loop"
        self._limit = limit
        self._grace = grace
        self._lock = threading.Lock()  # guards what comes next
        self._waiting: dict[TaskId, TaskRequest] = {}
        self._line: list[tuple[Order, int, TaskId]] = []  # the first is the next, if it waits
        self._arrivals = itertools.count()
        self._begun: dict[TaskId, _Attempt] = {}  # the latest attempt at each task
        self._attempts: set[_Attempt] = set()  # all that have not ended
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = False
        self._to_cut: list[_Attempt] = []  # to be cancelled at the end of the program's turn
        self._awake = False  # the loop will look into what waits
        self._watch = Watch(backend=name, seconds=watch_s, is_busy=self._is_busy)
        # Only for the loop's thread:
        self._places = 0  # that are taken
        self._spare = 0  # attempts that run on without a place
        self._stopped = False

    # ---------------------------------------------------- from the program's side

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        """Take the tasks.

        Raises:
            RuntimeError: no thread can be started; no task was taken.
        """
        loop = self._loop or self._start()
        with self._lock:
            for request in batch:
                self._waiting[request.task_id] = request
                place = order_of(request), next(self._arrivals), request.task_id
                heapq.heappush(self._line, place)
        self._wake(loop)
        self._watch.begin()

    def waits(self, task_ids: Collection[TaskId]) -> dict[TaskId, Wait]:
        """Return what those of the tasks wait for that have not begun."""
        from radical.asyncflow.backend import Wait, WaitKind  # here: most programs never ask

        with self._lock:
            wanted = [task_id for task_id in task_ids if task_id in self._waiting]
            running = list(self._begun)
        where = f"the event loop of backend {self._watch.backend!r}"
        text = f"one of the {self._limit:,} places in {where}, all taken"
        if len(running) < self._limit:
            text = f"its turn in {where}, which a function may hold up"
        wait = Wait(kind=WaitKind.SLOT, text=text, holders=running[:5], held_by=len(running))
        return dict.fromkeys(wanted, wait)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Report those that wait as CANCELLED, and cancel those that run."""
        flushes = bool(self._to_cut)
        self._withdraw(task_ids)
        if self._to_cut and not flushes:
            # To wake the loop for each of a thousand would take a second.
            asyncio.get_running_loop().call_soon(self._flush)

    def _withdraw(self, task_ids: Collection[TaskId]) -> None:
        """Report those that wait, and note those that run for `_flush`."""
        gone: list[Report] = []
        with self._lock:
            for task_id in task_ids:
                request = self._waiting.pop(task_id, None)
                if request is not None:
                    gone.append(Report(task_id, request.attempt, _CANCELLED))
                elif task_id in self._begun:
                    attempt = self._begun[task_id]
                    attempt.cancel()
                    self._to_cut.append(attempt)
        if gone:
            self._sink.report(gone)

    def _flush(self) -> None:
        """Have the loop cancel what `cancel` found."""
        chosen, self._to_cut = self._to_cut, []
        if chosen:
            self._call(functools.partial(self._cut_all, chosen))

    def close(self, *, cancel: bool) -> None:
        """Take nothing more, and end when nothing is left, without waiting for that."""
        with self._lock:
            self._closing = True
            held = [*self._waiting, *self._begun]
        self._watch.end()
        if cancel:
            self._withdraw(held)
            self._flush()
        self._call(self._leave)

    def wait(self, patience: float | None) -> None:
        """Wait until all functions have ended; abandon them after *patience* seconds."""
        thread = self._thread
        if thread is None:
            return
        thread.join(patience)
        if thread.is_alive():
            self._abandon()
            self._call(self._stop)
            thread.join(1.0)  # more only if a function holds the loop
        atexit.unregister(self._at_exit)

    def _abandon(self) -> None:
        with self._lock:
            held = list(self._attempts)
            for attempt in held:
                attempt.is_abandoned = True
        for attempt in held:
            _log.warning(
                "task %r (#%d) does not end; it is left behind in the event loop of %s",
                *(attempt.name, attempt.task_id, self._name),
            )
        self._sink.report([Report(item.task_id, item.attempt, _CANCELLED) for item in held])

    def _at_exit(self) -> None:
        """Finish what a program submitted that did not shut down, unless it failed."""
        failed = getattr(sys, "last_type", None) is not None
        self.close(cancel=failed)
        self.wait(2 * self._grace if failed else None)

    def _is_busy(self) -> bool:
        return bool(self._waiting or self._attempts)

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(self._make_task)
        thread = threading.Thread(target=self._main, args=(loop,), name=self._name, daemon=True)
        try:
            thread.start()
        except BaseException:
            loop.close()
            raise
        self._loop, self._thread = loop, thread
        self._watch.watch(loop, thread, self._owner_of)
        atexit.register(self._at_exit)
        return loop

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._awake:
            self._awake = True
            loop.call_soon_threadsafe(self._fill)

    def _call(self, function: Callable[[], object]) -> None:
        """Have *function* called in the loop, unless that has ended."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function)

    # ------------------------------------------------------ in the loop's thread

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            while not self._stopped:
                try:
                    loop.run_forever()
                except BaseException:  # SystemExit in a callback, or in a task of a function
                    _log.exception("the event loop of %s goes on after an error", self._name)
            self._finish(loop)
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def _finish(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what no function waits for, as `asyncio.run` does at its end."""
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
            task._log_destroy_pending = False  # type: ignore[attr-defined]

        async def end() -> None:
            if left:
                await asyncio.wait(left, timeout=0.1)
            closing = asyncio.Task(loop.shutdown_asyncgens())
            await asyncio.wait({closing}, timeout=_LEFT_LIMIT_S)

        loop.set_task_factory(None)
        loop.run_until_complete(end())

    def _fill(self) -> None:
        """Begin with what waits, as far as there are places."""
        self._awake = False
        while self._places < self._limit:
            with self._lock:
                if not self._waiting:
                    self._line.clear()
                    return
                *_, task_id = heapq.heappop(self._line)
                if task_id not in self._waiting:
                    continue  # it was cancelled
                request = self._waiting.pop(task_id)
                attempt = self._begun[task_id] = _Attempt(request)
                self._attempts.add(attempt)
            self._begin(attempt)
            del request, attempt

    def _begin(self, attempt: _Attempt) -> None:
        loop = self._loop
        assert loop is not None
        request = attempt.request
        self._places += 1
        self._sink.running(request.task_id, request.attempt, self._name)
        context = Context() if request.context is None else request.context.copy()
        task: asyncio.Task[None] = asyncio.Task(
            self._run(attempt), loop=loop, name=attempt.name, context=context
        )
        attempt.task = task
        task.add_done_callback(functools.partial(self._ended, attempt))
        if attempt.cancelled:
            self._cut(attempt)

    async def _run(self, attempt: _Attempt) -> None:
        """Run the function, and end what it leaves, so that this never raises."""
        request = attempt.request
        try:
            attempt.value = await call_async(
                request.spec.function, request.args, request.kwargs, attempt
            )
        except BaseException as error:
            attempt.error = error
        attempt.ended = True
        if attempt.children:
            await self._end_children(attempt)

    async def _end_children(self, attempt: _Attempt) -> None:
        """Cancel the asyncio tasks that a function left behind, and wait until they have ended."""
        loop, children = asyncio.get_running_loop(), attempt.children
        deadline = loop.time() + _LEFT_LIMIT_S
        while children and loop.time() < deadline:
            for child in tuple(children):
                child.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(tuple(children), timeout=deadline - loop.time())
        if children:
            _log.warning(
                "task %r (#%d) left %d asyncio tasks behind, which ignored their cancellation "
                "for %g s",
                *(attempt.name, attempt.task_id, len(children), _LEFT_LIMIT_S),
            )

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        """Make an asyncio task for a function, which is to end with that."""
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        owner = current_task()
        if isinstance(owner, _Attempt) and not owner.ended:
            owner.children.add(task)
            task.add_done_callback(owner.children.discard)
        return task

    def _owner_of(self, task: asyncio.Task[Any]) -> TaskContext | None:
        """Return the attempt that *task* belongs to; called by the watch, in another thread."""
        with self._lock:
            attempts = tuple(self._attempts)
        return next((each for each in attempts if each.task is task or task in each.children), None)

    def _cut_all(self, attempts: Iterable[_Attempt]) -> None:
        for attempt in attempts:
            self._cut(attempt)

    def _cut(self, attempt: _Attempt) -> None:
        """Cancel the asyncio task, once, so that no await of a handler is cancelled."""
        task = attempt.task
        if attempt.relief is None and task is not None and not task.done():
            task.cancel()
            attempt.relief = task.get_loop().call_later(_STUCK_S, self._relieve, attempt)

    def _relieve(self, attempt: _Attempt) -> None:
        """Give the place of a cancelled function that runs on to another one."""
        if self._closing or attempt.task is None or attempt.task.done():
            return
        replaced = self._spare < self._limit
        _log.warning(
            "task %r (#%d) runs on though it was cancelled, because it handles "
            "asyncio.CancelledError and has not ended since; %s",
            *(attempt.name, attempt.task_id),
            "another task takes its place" if replaced else "no other task has its place",
        )
        if replaced:
            attempt.has_place = False
            self._places -= 1
            self._spare += 1
            self._fill()

    def _ended(self, attempt: _Attempt, _: asyncio.Task[None]) -> None:
        """Report the outcome, and begin with the next."""
        attempt.task = None
        if attempt.relief is not None:
            attempt.relief.cancel()
        if attempt.has_place:
            self._places -= 1
        else:
            self._spare -= 1
        with self._lock:
            self._attempts.discard(attempt)
            if self._begun.get(attempt.task_id) is attempt:
                del self._begun[attempt.task_id]
        if not attempt.ended:
            # It was cancelled before its first step, by whoever cancels all asyncio tasks.
            attempt.error = asyncio.CancelledError()
        if not attempt.is_abandoned:
            self._report(attempt)
        attempt.error = attempt.value = None
        self._fill()
        self._leave()

    def _report(self, attempt: _Attempt) -> None:
        sink, task_id, number = self._sink, attempt.task_id, attempt.attempt
        if attempt.kept is not None:
            sink.traced(task_id, number, attempt.kept.trace())
        if attempt.cancelled:
            sink.cancelled(task_id, number)
        elif attempt.error is not None:
            sink.failed(task_id, number, attempt.error)
        else:
            sink.done(task_id, number, attempt.value)

    def _leave(self) -> None:
        """Stop the loop if nothing is left and nothing can come."""
        if self._closing and not self._attempts and not self._waiting:
            self._stop()

    def _stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            asyncio.get_running_loop().stop()
