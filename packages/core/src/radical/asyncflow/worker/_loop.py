"""The event loop of a thread that runs async functions, one after the other.

A thread keeps its loop.  `asyncio.run` would make another one for each function and, to close
it, look through every asyncio task of the process.

Most steps of short functions need no turn of the loop, which costs as much as a short task
and gives the interpreter's lock away.  So a function's first step is made here, in a real
asyncio task and with the loop marked as running: `asyncio.get_running_loop`, `current_task`,
`create_task` and `timeout` find what they would find in any other step.  A few further steps
are made here too, while they are all that the loop has to do.

The loop stays only while it is as new.  What a function leaves in it is ended as `asyncio.run`
would end it: tasks are cancelled, callbacks that are due are run, async generators are closed.
If anything else was left or changed, the next function gets another loop.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from types import CoroutineType
from typing import Any

from .._public import public
from ._context import TaskContext, current_task

__all__ = ["close_loop", "run_awaitable"]

_CANCEL_LIMIT_S = 5.0  # for asyncio tasks that were left behind to obey their cancellation
_MOST_STEPS = 16  # of a function without a turn of the loop
_MOST_TURNS = 16  # for callbacks that were left behind, and those that they leave

# Attributes of asyncio's own loops that tell what a function left.
_INTERNALS = (
    "_asyncgen_finalizer_hook",
    "_asyncgen_firstiter_hook",
    "_asyncgens",
    "_debug",
    "_exception_handler",
    "_ready",
    "_scheduled",
    "_selector",
    "_stopping",
    "_task_factory",
    "_thread_id",
    "_timer_cancelled_count",
)

_log = logging.getLogger("radical.asyncflow.worker")

_get_running_loop = asyncio._get_running_loop
_set_running_loop = asyncio._set_running_loop


def run_awaitable(awaitable: Awaitable[Any]) -> Any:
    """Await *awaitable* on this thread's loop, and leave nothing of it there.

    If a `TaskContext` is current, cancelling it cancels the asyncio task.

    Raises:
        RuntimeError: another loop runs in this thread.
    """
    if _get_running_loop() is not None:
        if isinstance(awaitable, CoroutineType):
            awaitable.close()
        raise RuntimeError(
            "an async function cannot be run to its end here, where another event loop is running"
        )
    try:
        run = _thread.run
    except AttributeError:
        runner = _thread.runner = _Runner()
        run = _thread.run = runner.run
    return run(awaitable)


@public("radical.asyncflow.worker")
def close_loop() -> None:
    """Close this thread's loop, if it has one; call this when the thread ends."""
    runner = getattr(_thread, "runner", None)
    if runner is not None:
        del _thread.runner, _thread.run
        runner.close()


class _Runner:
    """A loop and the asyncio tasks that were started on it.

    Attributes:
        run: runs an awaitable to its end and returns its result.
    """

    run: Callable[[Awaitable[Any]], Any]

    def __init__(self) -> None:
        self.loop: Any = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._factory = self._make_task
        self.loop.set_task_factory(self._factory)
        self._debug = self.loop.get_debug()
        self._hooks = sys.get_asyncgen_hooks()
        # The loops of other libraries have none of this, and are used as they are.
        self._known = all(map(functools.partial(hasattr, self.loop), _INTERNALS)) and hasattr(
            getattr(self.loop, "_selector", None), "_fd_to_key"
        )
        if not self._known or self._debug:  # then it watches each of its turns
            self.run = self._run_in_loop
        else:
            self.run = self._quick()
            sys.set_asyncgen_hooks(*_hooks_while_running(self.loop))

    def _run_in_loop(self, awaitable: Awaitable[Any]) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(_as_coroutine(awaitable), loop=self.loop)
        try:
            return self._wait(task, current_task())
        finally:
            del task  # it has the error, whose traceback has this frame
            if not self._is_as_new():
                self._clean()

    def _quick(self) -> Callable[[Awaitable[Any]], Any]:
        """Make the function `run`: a closure, because it is a good part of a short task's cost."""
        loop, tasks, factory = self.loop, self._tasks, self._factory
        ready, timers, generators = loop._ready, loop._scheduled, loop._asyncgens.data
        files = loop._selector._fd_to_key
        thread_id = threading.get_ident()
        begin = _beginning(loop)

        def run(awaitable: Awaitable[Any]) -> Any:
            job = current_task()
            task: asyncio.Task[Any] | None = None
            try:
                loop._thread_id = thread_id
                _set_running_loop(loop)
                try:
                    task = begin(
                        awaitable if type(awaitable) is CoroutineType else _wait_for(awaitable),
                        None if job is None else job.name,
                    )
                    if ready:
                        self._step_on(task, job)
                finally:
                    _set_running_loop(None)
                    loop._thread_id = None
                return task.result() if task.done() else self._wait(task, job)
            except BaseException:
                if task is not None and task.done() and not task.cancelled():
                    task.exception()  # KeyboardInterrupt and SystemExit came another way
                raise
            finally:
                del task  # it has the error, whose traceback has this frame
                if (
                    ready
                    or tasks
                    or timers
                    or generators
                    or loop._stopping
                    or loop._exception_handler is not None
                    or loop._task_factory is not factory
                    or len(files) != 1
                ):
                    self._clean()

        return run

    def _step_on(self, task: asyncio.Task[Any], job: TaskContext | None) -> None:
        """Make more steps of *task*, while they are all that the loop has to do."""
        loop = self.loop
        for _ in range(_MOST_STEPS):
            if task.done() or len(loop._ready) != 1 or loop._scheduled or loop._stopping:
                return
            if job is not None and job.cancelled:
                return
            handle = loop._ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _wait(self, task: asyncio.Task[Any], job: TaskContext | None) -> Any:
        """Run the loop until *task* has ended, and return its result; cancel it with *job*."""
        if job is not None:
            self._listen(job, task)
        try:
            return self.loop.run_until_complete(task)
        finally:
            if job is not None:
                job.on_cancel = None
            if not task.done():
                self._count(task)  # its loop was stopped
            elif not task.cancelled():
                task.exception()  # KeyboardInterrupt and SystemExit came another way

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        self._count(task)
        return task

    def _count(self, task: asyncio.Task[Any]) -> None:
        """Count *task* among those that have not ended."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _listen(self, job: TaskContext, task: asyncio.Task[Any]) -> None:
        loop = self.loop
        told = False

        def tell() -> None:
            # In the loop's thread.  Only once, so that no await of a handler is cancelled.
            nonlocal told
            if not told:
                told = True
                task.cancel()

        def on_cancel() -> None:
            try:
                loop.call_soon_threadsafe(tell)
            except RuntimeError:
                if not loop.is_closed():  # if it is, the task has ended as well
                    raise

        job.on_cancel = on_cancel
        if job.cancelled:
            on_cancel()

    # ------------------------------------------------- what a function leaves

    def _is_as_new(self) -> bool:
        """Tell whether nothing was left in the loop, as far as it shows that."""
        if not self._known:
            return not self._tasks
        loop = self.loop
        return not (
            loop._ready
            or self._tasks
            or loop._scheduled
            or loop._asyncgens.data
            or loop._stopping
            or loop._exception_handler is not None
            or loop._task_factory is not self._factory
            or loop._debug is not self._debug
            or len(loop._selector.get_map()) > 1  # one is the loop's own, to be woken by
        )

    def _clean(self) -> None:
        """End what a function left, and give the loop up if it is not as new afterwards."""
        try:
            if self._known:
                self.loop._stopping = False
            self._cancel_left_over()
            if self._known and self.loop._ready:
                self._run_callbacks()
                self._cancel_left_over()
            if self._known:
                self._forget_cancelled_timers()
        except Exception:
            _log.warning("what a task left in its event loop raised an error", exc_info=True)
            self._tasks.clear()
            close_loop()
        if not (self.loop.is_closed() or self._is_as_new()):
            close_loop()

    def _run_callbacks(self) -> None:
        """Run the callbacks that are due, and those that they leave, for some turns."""
        for _ in range(_MOST_TURNS):
            if not self.loop._ready:
                return
            self._run_task(asyncio.sleep(0))

    def _run_task(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run *coroutine* as a task that does not count as left behind."""
        self.loop.run_until_complete(asyncio.Task(coroutine, loop=self.loop))

    def _forget_cancelled_timers(self) -> None:
        """Empty the list of timers if all were cancelled, as `asyncio.timeout` leaves them."""
        timers = self.loop._scheduled
        if timers and all(timer.cancelled() for timer in timers):
            for timer in timers:
                timer._scheduled = False
            timers.clear()
            self.loop._timer_cancelled_count = 0

    def _cancel_left_over(self) -> None:
        """Cancel the tasks that were left, and wait until they have ended."""
        # One deadline for all rounds: a task may start another while it is cancelled.
        if not self._tasks:
            return
        loop = self.loop
        deadline = loop.time() + _CANCEL_LIMIT_S
        while self._tasks and loop.time() < deadline:
            for task in self._tasks:
                task.cancel()
            self._run_task(asyncio.wait(tuple(self._tasks), timeout=deadline - loop.time()))
        if self._tasks:
            _log.warning(
                "a task left %d asyncio tasks behind, which ignored their cancellation for %g s; "
                "their event loop is given up",
                len(self._tasks),
                _CANCEL_LIMIT_S,
            )
            self._tasks.clear()
            close_loop()

    def close(self) -> None:
        """Close the generators that were left, for some seconds at most, and then the loop."""
        sys.set_asyncgen_hooks(*self._hooks)
        try:
            if not self._known or self.loop._asyncgens:
                closing = asyncio.Task(self.loop.shutdown_asyncgens(), loop=self.loop)
                self._run_task(asyncio.wait((closing,), timeout=_CANCEL_LIMIT_S))
        finally:
            self.loop.close()


class _Thread(threading.local):
    runner: _Runner
    run: Callable[[Awaitable[Any]], Any]


_thread = _Thread()


def _beginning(loop: Any) -> Callable[..., asyncio.Task[Any]]:
    """Make a function of a coroutine and a name: it makes a task, and the task's first step."""
    make_task = asyncio.Task
    first: Any = None
    run_step: Any = None

    def begin(coroutine: Coroutine[Any, Any, Any], name: str | None) -> asyncio.Task[Any]:
        return make_task(coroutine, loop=loop, name=name, eager_start=True)  # type: ignore

    def catch(step: Callable[[], object], *, context: Context) -> None:
        nonlocal first, run_step
        first, run_step = step, context.run

    def begin_before_3_12(
        coroutine: Coroutine[Any, Any, Any], name: str | None
    ) -> asyncio.Task[Any]:
        nonlocal first, run_step
        # A new task hands over its first step.
        loop.call_soon = catch
        try:
            task = make_task(coroutine, loop=loop, name=name)
        finally:
            del loop.call_soon
        try:
            run_step(first)
        except BaseException:
            task.exception()  # KeyboardInterrupt and SystemExit came another way, too
            raise
        finally:
            first = run_step = None
        return task

    return begin if sys.version_info >= (3, 12) else begin_before_3_12


def _as_coroutine(awaitable: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    return awaitable if isinstance(awaitable, CoroutineType) else _wait_for(awaitable)


async def _wait_for(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _hooks_while_running(loop: Any) -> tuple[Callable[..., None], Callable[..., None]]:
    """Make hooks of async generators, as the loop has them, that count only while it runs.

    A thread keeps them, because to set them for each function takes as long as a short one.
    """

    def begins(generator: AsyncGenerator[Any, Any]) -> None:
        if loop.is_running():
            loop._asyncgen_firstiter_hook(generator)

    def is_dropped(generator: AsyncGenerator[Any, Any]) -> None:
        if loop.is_running():
            loop._asyncgen_finalizer_hook(generator)
            return
        try:  # what Python does without a hook
            generator.aclose().send(None)
        except (StopIteration, StopAsyncIteration):
            return
        raise RuntimeError("async generator ignored GeneratorExit")

    return begins, is_dropped
