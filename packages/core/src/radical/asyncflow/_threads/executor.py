"""An engine as an executor of `concurrent.futures`, for libraries that run their work on one."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextvars import copy_context
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from .._public import public
from .._task.function import TaskFunction
from .._text import count
from ..errors import ConfigurationError
from .calls import Call, Calls
from .futures import TaskFuture, cancel_all

if TYPE_CHECKING:
    from .._task.decorators import TaskDecorators

__all__ = ["TaskExecutor"]

R = TypeVar("R")

MOST_FUNCTIONS = 256
"""The number of functions whose tasks the executor remembers; the oldest goes first."""

PLAIN = (FunctionType, BuiltinFunctionType)


@public("radical.asyncflow.sync")
class TaskExecutor(concurrent.futures.Executor):
    """The tasks of an engine, for whatever takes a `concurrent.futures.Executor`.

    `WorkflowEngine.executor` and `Flow.executor` make it.  Each ``submit`` is a call of a
    function task, which runs on the engine's backend with the options of the executor.  Any
    thread may use it, and so may code in the loop of the engine, which awaits a future by
    `asyncio.wrap_future` or ``loop.run_in_executor``.  The end of the executor is not that of
    the engine.
    """

    def __init__(
        self,
        decorators: TaskDecorators,
        calls: Calls,
        options: dict[str, Any],
        *,
        slots: int | None,
        max_workers: int | None,
    ) -> None:
        """Prepare an executor; nothing is started.

        Args:
            options: of the tasks.
            slots: the number of tasks that the backend runs at once, if it says so.
            max_workers: what to tell those who ask for that number.

        Raises:
            ConfigurationError: an option is wrong, or *max_workers* is no whole number of at
                least 1.
        """
        is_number = isinstance(max_workers, int) and not isinstance(max_workers, bool)
        if max_workers is not None and not (is_number and max_workers >= 1):
            raise ConfigurationError(f"max_workers must be at least 1 or None, not {max_workers!r}")
        self._max_workers = max_workers or slots or os.cpu_count() or 1
        self._decorators = decorators
        self._calls = calls
        self._options = options
        self._lock = threading.Lock()
        self._tasks: OrderedDict[Any, TaskFunction[..., Any]] = OrderedDict()
        self._unfinished: weakref.WeakSet[TaskFuture[Any]] = weakref.WeakSet()
        self._is_shut_down = False
        # What is wrong with the options is an error here.
        self._owner = self._make(_apply, None)._owner

    @property
    def max_workers(self) -> int:
        """The number of tasks that run at once, for libraries that cut their work by it."""
        return self._max_workers

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> TaskFuture[R]:
        """Call ``fn(*args, **kwargs)`` in a task, and return its future.

        Args:
            fn: a function, a method or any other object that can be called; also an
                ``async def`` function.  A task of the same engine runs with its own options.
            args, kwargs: its arguments; futures of the same engine among them are dependencies.

        Raises:
            RuntimeError: the executor was shut down.
            EngineClosedError: the engine was shut down.
            ConfigurationError: no backend can run it with the options of the executor.
            TypeError: *fn* cannot be called, does not take these arguments, or is a task of
                another engine.
        """
        task, args, kwargs = self._task(fn, args, kwargs)
        task, args, kwargs = task._settled(args, kwargs)
        task._check_arguments(args, kwargs)
        if task._call is None:
            self._calls.run(task._bind)
        future: TaskFuture[R] = TaskFuture(self._calls, task.name)
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot submit a task: the executor was shut down")
            self._unfinished.add(future)
        self._calls.make(Call(task, args, kwargs, copy_context(), future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse further tasks; the engine goes on.

        Args:
            wait: return when the tasks of this executor have ended.
            cancel_futures: cancel those that have not ended, running ones too.

        Raises:
            RuntimeError: it was called in the loop of the engine and would wait there for tasks
                that only this loop can end.
        """
        with self._lock:
            self._is_shut_down = True
            unfinished = [future for future in self._unfinished if not future.done()]
        if cancel_futures:
            self._calls.run(lambda: cancel_all(unfinished))
        if not wait:
            return
        if self._calls.is_own_thread():
            if left := [future for future in unfinished if not future.done()]:
                raise RuntimeError(
                    f"to wait here for {count(len(left), 'task')} would stop the loop that runs "
                    "them: await their futures first (asyncio.wrap_future), or use "
                    "shutdown(wait=False)"
                )
            return
        concurrent.futures.wait(unfinished)

    def check_thread(self, who: str) -> None:
        """Raise RuntimeError if the caller, named *who*, must not wait: it stops the loop."""
        if self._calls.is_own_thread():
            raise RuntimeError(
                f"{who} without awaiting, which would stop the loop that runs the tasks: call it "
                "in another thread (await asyncio.to_thread(...)), or use "
                "radical.asyncflow.sync.Flow"
            )

    def register_joblib(self, name: str = "asyncflow") -> None:
        """Let joblib, and so scikit-learn, run on this executor.

        ``with joblib.parallel_config(backend=name):`` then chooses it.

        Args:
            name: how joblib calls it; the executor that was registered last has it.

        Raises:
            ModuleNotFoundError: joblib is not installed.
        """
        from .joblib import register

        register(name, self)

    def _task(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[TaskFunction[..., Any], tuple[Any, ...], dict[str, Any]]:
        """Return the task that calls *fn*, and the arguments for it."""
        if isinstance(fn, functools.partial) and _engine_task(fn.func) is not None:
            args, kwargs = (*fn.args, *args), {**fn.keywords, **kwargs}
            fn = fn.func
        if (own := _engine_task(fn)) is not None:
            if own._owner is not self._owner:
                raise TypeError(
                    f"{own!r} belongs to another engine than this executor: submit its function, "
                    "which is its __wrapped__"
                )
            return own, args, kwargs
        if isinstance(fn, PLAIN):
            with self._lock:
                if (task := self._tasks.get(fn)) is None:
                    task = self._tasks[fn] = self._make(fn, None)
                    if len(self._tasks) > MOST_FUNCTIONS:
                        self._tasks.popitem(last=False)
                return task, args, kwargs
        if not callable(fn):
            raise TypeError(f"an executor calls functions, and {fn!r} cannot be called")
        # A partial function or a callable object travels as an argument.
        inner = getattr(fn, "func", fn)
        name = getattr(inner, "__name__", None) or type(fn).__name__
        with self._lock:
            if (task := self._tasks.get(name)) is None:
                task = self._tasks[name] = self._make(_apply, name)
                if len(self._tasks) > MOST_FUNCTIONS:
                    self._tasks.popitem(last=False)
            return task, (fn, *args), kwargs

    def _make(self, function: Callable[..., Any], name: str | None) -> TaskFunction[..., Any]:
        options = self._options
        if name is not None and "name" not in options:
            options = {**options, "name": name}
        made: TaskFunction[..., Any] = self._decorators.function_task(**options)(function)
        if function is _apply:
            made._ignore_descriptions()  # each argument is for the function that it calls
        return made

    def __repr__(self) -> str:
        with self._lock:
            unfinished = sum(not future.done() for future in self._unfinished)
        state = "shut down" if self._is_shut_down else f"{unfinished} unfinished"
        return f"<{type(self).__name__} of {self._decorators!r}: {state}>"


def _engine_task(fn: object) -> TaskFunction[..., Any] | None:
    """Return the engine's task that *fn* is, or that the task *fn* of a flow stands for."""
    task = fn if isinstance(fn, TaskFunction) else getattr(fn, "_task", None)
    return task if isinstance(task, TaskFunction) else None


def _apply(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call *fn*, which is not a plain function."""
    return fn(*args, **kwargs)
