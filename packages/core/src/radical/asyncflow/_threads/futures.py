"""The future of a task that a thread without an event loop has called."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

from .._graph.items import ItemOf, item_of
from .._public import public
from .._text import printable_lines, safe_str

if TYPE_CHECKING:
    from .._task.future import TaskFuture as EngineFuture

__all__ = ["HandOn", "TaskFuture", "TaskItem", "cancel_all", "follow"]

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger("radical.asyncflow")

_Base = concurrent.futures.Future


class Loop(Protocol):
    """The loop of the engine, as a future sees it."""

    def run(self, function: Callable[[], R]) -> R:
        """Return ``function()``, which runs in the loop after all calls so far."""

    def is_own_thread(self) -> bool:
        """Tell whether the caller runs in the thread of the loop."""


@public("radical.asyncflow.sync")
class TaskFuture(_Base, Generic[T]):  # type: ignore[type-arg]
    """The result of a task that may not have run yet.

    It is a `concurrent.futures.Future`: ask for its `result`, give it a callback, cancel it,
    hand it to `concurrent.futures.wait` or `as_completed`, or pass it to another task as an
    argument.
    """

    _unseen: BaseException | None = None

    def __init__(self, calls: Loop, name: str) -> None:
        super().__init__()
        self._calls = calls
        self._name = name
        self._task: EngineFuture[T] | None = None

    @property
    def id(self) -> str:
        """The name of this call, such as ``"task.000001"``, unique in its engine."""
        return self._registered().id

    @property
    def name(self) -> str:
        """The name that the task was given, or else that of its function."""
        return self._name

    @property
    def state(self) -> str:
        """The state of the task, one of PENDING, RUNNING, DONE, FAILED and CANCELLED."""
        return self._calls.run(lambda: self._registered().state)

    @property
    def backend(self) -> str | None:
        """The name of the backend that runs the task; None for a block."""
        return self._registered().backend

    @property
    def attempts(self) -> int:
        """The number of times that the task was tried."""
        return self._registered().attempts

    @property
    def workflow_id(self) -> str | None:
        """The workflow that the task belongs to, if any."""
        return self._registered().workflow_id

    @property
    def exit_code(self) -> int | None:
        """The exit code of an executable (``-N`` for signal *N*); None until it ended."""
        return self._registered().exit_code

    @property
    def stdout(self) -> str | None:
        """The output of an executable; with ``capture_stdio`` the path of the file that has it."""
        return self._registered().stdout

    @property
    def stderr(self) -> str | None:
        """The error output of an executable; with ``capture_stdio`` the path of its file."""
        return self._registered().stderr

    @property
    def outputs(self) -> list[Path]:
        """The places of the task's output files; empty until it has succeeded."""
        return self._registered().outputs

    def result(self, timeout: float | None = None) -> T:
        """Return the result of the task; wait for it.

        Args:
            timeout: the longest wait in seconds; by default, and with None, as long as it takes.

        Raises:
            TimeoutError: it is not there in time; the task goes on.
            CancelledError: the task was cancelled (that of `concurrent.futures`).
            Exception: what the task raised.
        """
        self._check_thread()
        self._unseen = None
        try:
            return super().result(timeout)  # type: ignore[no-any-return]
        finally:
            self._unseen = None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, None if it succeeded; wait for it as `result` does."""
        self._check_thread()
        try:
            return super().exception(timeout)
        finally:
            self._unseen = None

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call *fn* with this future when it is done, in the thread of the engine."""
        super().add_done_callback(fn)
        self._unseen = None

    def cancel(self) -> bool:
        """Cancel the task.

        A task that waits ends at once, and so does everything that depends on it.  If the task
        runs and the backend can end running work, the future ends when the work has ended.

        Returns:
            False if the task was done already.
        """
        return self._calls.run(self._cancel)

    def set_result(self, result: T) -> NoReturn:  # noqa: ARG002
        """Raise RuntimeError: only the engine ends a task."""
        raise RuntimeError("the future of a task does not support set_result")

    def set_exception(self, exception: BaseException | None) -> NoReturn:  # noqa: ARG002
        """Raise RuntimeError: only the engine ends a task."""
        raise RuntimeError("the future of a task does not support set_exception")

    def set_running_or_notify_cancel(self) -> NoReturn:
        """Raise RuntimeError: only the engine begins a task."""
        raise RuntimeError("the future of a task does not support set_running_or_notify_cancel")

    def __getitem__(self, key: Any) -> TaskItem:
        """Return the item *key* of the result, as an argument of other calls, or to wait for."""
        return TaskItem(self, (key,))

    # Without it, Python would take what has items for a sequence without an end.
    __iter__ = None
    __contains__ = None

    def running(self) -> bool:
        """Tell whether the task runs just now."""
        return self.state == "RUNNING"

    def _cancel(self) -> bool:
        return not self.done() and self._registered().cancel()

    def _registered(self) -> EngineFuture[T]:
        """Return the engine's future, which is there as soon as the loop has seen the call."""
        if self._task is None:
            self._calls.run(lambda: None)
        if self._task is None:
            error = super().exception(0)
            raise RuntimeError(f"task {self._name!r} was not accepted: {error}") from error
        return self._task

    def _check_thread(self) -> None:
        if not self.done() and self._calls.is_own_thread():
            raise RuntimeError(
                f"the result of task {self._name!r} is not there, and to wait for it would stop "
                "the loop that runs the tasks: in a block or a callback, await what a task returns"
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"the future of task {self._name!r} cannot be sent to a worker: futures are found in "
            "lists, tuples, dicts and sets, but not inside other objects; pass it as an argument "
            "of its own, or its result"
        )

    def __repr__(self) -> str:
        task = self._task
        where = "PENDING" if task is None else f"{task.id} {task._stage.public}"
        return f"<{type(self).__name__} {self._name!r} {where}>"

    def _repr_html_(self) -> str:
        return self._calls.run(lambda: self._registered()._repr_html_())

    def __del__(self) -> None:
        if self._unseen is not None:
            log.error(
                "task %r failed, and nobody asked for its result: %s",
                self._name,
                printable_lines(safe_str(self._unseen)),
            )


@public("radical.asyncflow.sync")
class TaskItem(ItemOf):
    """An item of a task's result, which need not be there yet: ``future[key]``.

    Pass it to other calls, alone or in lists, tuples, dicts and sets, or ask for its `result`.  It
    is no task: it is looked up when what needs it is sent.  Its own items are ``item[key]``.
    """

    __slots__ = ()
    _in_place = "its result"

    __iter__ = None
    __contains__ = None

    @property
    def task(self) -> TaskFuture[Any]:
        """The future of the task whose result has the item."""
        future: TaskFuture[Any] = self._future
        return future

    def __getitem__(self, key: Any) -> TaskItem:
        return TaskItem(self._future, (*self._keys, key))

    def result(self, timeout: float | None = None) -> Any:
        """Return the item of the result of the task; wait for it.

        Args:
            timeout: the longest wait in seconds; by default, and with None, as long as it takes.

        Raises:
            LookupError: the result has no such item.
            TimeoutError: it is not there in time; the task goes on.
            CancelledError: the task was cancelled (that of `concurrent.futures`).
            Exception: what the task raised.
        """
        return item_of(self, self._future.result(timeout))


def follow(task: EngineFuture[T], future: TaskFuture[T]) -> None:
    """Let *future* end as *task* does."""
    future._task = task
    task.add_done_callback(_Deliver(future))


def cancel_all(futures: Iterable[TaskFuture[Any]]) -> None:
    """Cancel *futures*, in the loop; the last one first, so that none begins meanwhile."""
    made = [task for future in futures if (task := future._task) is not None]
    for task in sorted(made, key=lambda task: task._number, reverse=True):
        if not task.done():
            task.cancel()


class _Deliver:
    """The callback that takes the end of the engine's future to that of the caller."""

    __slots__ = ("_future",)

    def __init__(self, future: TaskFuture[Any]) -> None:
        self._future = future

    def __call__(self, task: asyncio.Future[Any]) -> None:
        future = self._future
        was_unseen = task._log_traceback  # False if another task failed of it
        if task.cancelled():
            _Base.cancel(future)
            _Base.set_running_or_notify_cancel(future)
        elif (error := task.exception()) is not None:
            fail(future, error, seen=not was_unseen)
        else:
            _Base.set_result(future, task.result())


class HandOn:
    """A callback that hands a future on to *take*, and does not look at its result."""

    __slots__ = ("_take",)

    def __init__(self, take: Callable[[TaskFuture[Any]], object]) -> None:
        self._take = take

    def __call__(self, future: Any) -> None:
        self._take(future)


def fail(future: TaskFuture[Any], error: BaseException, *, seen: bool = False) -> None:
    """Let *future* end with *error*, which is logged if nobody ever looks at it."""
    callbacks: list[object] = future._done_callbacks  # type: ignore[attr-defined]
    looked_at = any(type(callback) is not HandOn for callback in callbacks)
    if not (seen or looked_at or future._waiters):
        future._unseen = error
    _Base.set_exception(future, error)
