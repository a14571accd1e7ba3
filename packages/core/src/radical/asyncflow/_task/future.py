"""The future of a task, which for the engine is the task itself.

Its documented attributes are public; those that the engine keeps in it have an underscore.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Generator, Mapping
from contextvars import Context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar
from weakref import WeakSet

from .._graph.items import ItemOf, item_of
from .._graph.scheduler import Node
from .._public import public
from .._text import error_line, task_id_text
from ..backend import ExecutableResult, RemoteValue
from ..model import TaskSpec, TaskState
from .item import TaskItem

if TYPE_CHECKING:
    from .._files.declared import FileSet
    from .call import Call
    from .owner import Owner

__all__ = [
    "NO_KWARGS",
    "Activity",
    "Arguments",
    "EndReason",
    "Ending",
    "Extras",
    "RemoteTaskFuture",
    "TaskFuture",
    "Timer",
    "Work",
    "clear",
    "extras_of",
    "outside_awaitables",
    "result_of",
    "set_cancelled",
    "set_exception",
    "set_result",
]

T = TypeVar("T")

_await = asyncio.Future.__await__

# The methods of the class that `TaskFuture` really derives from: `nest_asyncio` puts another class
# in the place of `asyncio.Future`.
set_result = asyncio.Future.set_result
set_exception = asyncio.Future.set_exception
set_cancelled = asyncio.Future.cancel
_result = asyncio.Future.result
_exception = asyncio.Future.exception

NO_KWARGS: dict[str, Any] = {}
"""The value for "no keyword arguments"; it is shared, and never changed."""


class EndReason(enum.Enum):
    """The reason why the engine ends the running work of a task."""

    CANCEL = enum.auto()
    TIMEOUT = enum.auto()
    HALT = enum.auto()


class Ending(NamedTuple):
    """The end of a task that the engine wants: the reason, and the message given to ``cancel``."""

    reason: EndReason
    message: Any = None


class Activity(enum.Enum):
    """A kind of work that the engine does for a task in its loop; no report counts meanwhile."""

    LOOK_UP = "its result is looked up in the journal"
    PREPARE = "its files are staged, or the body that returns its command runs"
    BLOCK = "its body runs"
    DELIVER_OUTPUTS = "its output files are moved to their places"
    FETCH = "its value is brought here for the journal"


class Work(NamedTuple):
    """The work that the engine does for a task in its loop, and the asyncio task doing it."""

    activity: Activity
    task: asyncio.Task[Any]


class Timer(NamedTuple):
    """The timer of a task, and for the delay before an attempt why the last one failed."""

    handle: asyncio.TimerHandle
    failure: str = ""


class Arguments:
    """The objects other than plain values that were found inside a call's arguments.

    Attributes:
        outside_awaitables: futures that are no tasks of this engine, by the id of the argument
            that each stands for.
        pinned: those arguments, so that their ids stay unique.
        dependencies: the numbers of the tasks that the call waits for or follows; only where
            the backend takes references and more futures may be added after the call.
    """

    __slots__ = ("dependencies", "outside_awaitables", "pinned")

    def __init__(self) -> None:
        self.outside_awaitables: dict[int, asyncio.Future[Any]] = {}
        self.pinned: list[Any] = []
        self.dependencies: set[int] | None = None


class Extras:
    """The attributes that only some tasks need; a plain function task has none.

    Attributes:
        work: the work that the engine does for it just now, if any.
        ending: the end that the engine wants for it, if any.
        timer: the timer of its timeout, its retry, or the patience with its backend.
        arguments: the objects found inside its arguments, where it matters.
        command: the command that an executable's body returned.
        files: its declared inputs and outputs; after its end, what was staged.
        outputs: after a success, the places of its output files by name.
        headers: the headers that plugins send along.
        members: the unfinished tasks of a block.
        result: the exit code and output of an executable.
        worker: the worker that runs it.
        workflow_id: the workflow that it belongs to.
        origin: after a failure, the name of the task that failed first, and its error.
    """

    __slots__ = (
        "arguments",
        "command",
        "ending",
        "files",
        "headers",
        "members",
        "origin",
        "outputs",
        "result",
        "timer",
        "work",
        "worker",
        "workflow_id",
    )

    def __init__(self) -> None:
        self.work: Work | None = None
        self.command: object = None
        self.ending: Ending | None = None
        self.timer: Timer | None = None
        self.arguments: Arguments | None = None
        self.files: FileSet | None = None
        self.outputs: dict[str, Path] | None = None
        self.headers: tuple[Any, ...] | None = None
        self.members: WeakSet[TaskFuture[Any]] | None = None
        self.result: ExecutableResult | None = None
        self.worker: str | None = None
        self.workflow_id: str | None = None
        self.origin: tuple[str, BaseException] | None = None

    def stop_work(self) -> None:
        """Cancel the work that the engine does for the task in the loop."""
        if self.work is not None:
            self.work.task.cancel()

    def stop_timer(self) -> None:
        """Cancel the pending timer, if there is one."""
        if self.timer is not None:
            self.timer.handle.cancel()
            self.timer = None


@public("radical.asyncflow")
class TaskFuture(Node, asyncio.Future[T]):
    """The result of a task that may not have run yet.

    It is an `asyncio.Future`: await it, gather it, give it a callback, cancel it, or pass it to
    another task as an argument.  To cancel it, or the scope that awaits it, also ends the work,
    as far as the backend can end work.
    """

    __slots__ = (*Node._FIELDS, "_binding", "_call", "_context", "_entry", "_extras")

    _extras: Extras | None
    _binding: int
    _call: Call
    _context: Context | None  # of the call, if the function or the body runs in it
    _entry: Any  # for the journal; only an engine that has one sets and reads it

    @property
    def _spec(self) -> TaskSpec:
        """The options that all calls of the task share."""
        return self._call.spec

    @property
    def _lane(self) -> Any:
        """The backend that runs it, as the engine holds it; None for a block."""
        return self._call.lane

    @property
    def _native(self) -> bool:
        """True if its backend orders it among others, and no files have to be staged before."""
        return self._call.native and (self._extras is None or self._extras.files is None)

    @property
    def _owner(self) -> Owner:
        """The machinery of its engine."""
        return self._call.owner

    @property
    def _origin(self) -> tuple[str, BaseException] | None:
        """After a failure, the name of the task that failed first, and its error."""
        return None if self._extras is None else self._extras.origin

    @_origin.setter
    def _origin(self, origin: tuple[str, BaseException] | None) -> None:
        if self._extras is None:
            if origin is None:
                return
            self._extras = Extras()
        self._extras.origin = origin

    @property
    def id(self) -> str:
        """The name of this call, such as ``"task.000001"``, unique in its engine."""
        return task_id_text(self._number)

    @property
    def name(self) -> str:
        """The name that the task was given, or else that of its function."""
        return self._spec.name

    @property
    def state(self) -> str:
        """The state of the task, one of PENDING, RUNNING, DONE, FAILED and CANCELLED."""
        if self._stage < TaskState.DONE:
            self._call.owner.take_reports()
        return self._stage.public

    @property
    def backend(self) -> str | None:
        """The name of the backend that runs the task; None for a block."""
        lane = self._call.lane
        return None if lane is None else lane.name

    @property
    def attempts(self) -> int:
        """The number of times that the task was tried."""
        sent = self._stage is not TaskState.PENDING and self._stage is not TaskState.READY
        return self._attempt if sent else self._attempt - 1

    @property
    def workflow_id(self) -> str | None:
        """The workflow that the task belongs to, if any."""
        return None if self._extras is None else self._extras.workflow_id

    @property
    def exit_code(self) -> int | None:
        """The exit code of an executable (``-N`` for signal *N*); None until it ended."""
        result = self._executed()
        return None if result is None else result.exit_code

    @property
    def stdout(self) -> str | None:
        """The output of an executable; with ``capture_stdio`` the path of the file that has it."""
        result = self._executed()
        return None if result is None else result.stdout

    @property
    def stderr(self) -> str | None:
        """The error output of an executable; with ``capture_stdio`` the path of its file."""
        result = self._executed()
        return None if result is None else result.stderr

    @property
    def outputs(self) -> list[Path]:
        """The places of the task's output files; empty until it has succeeded."""
        outputs = None if self._extras is None else self._extras.outputs
        return [] if outputs is None else list(outputs.values())

    def _executed(self) -> ExecutableResult | None:
        return None if self._extras is None else self._extras.result

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the task.

        A task that waits ends at once, and so does everything that depends on it.  If the task
        runs and the backend can end running work, the future ends when the work has ended.
        Otherwise, as with a function in a thread, the future ends at once, and the work can
        see it by `radical.asyncflow.cancelled`.

        Returns:
            False if the future was done already.
        """
        if self.done():
            return False
        self._call.owner.cancel(self, msg)
        # The result may have waited in the inbox.  The scope that awaits it then has to be
        # cancelled itself: True would tell asyncio that the cancellation was delivered.
        return not self.done() or self.cancelled()

    def stop(self) -> asyncio.Future[None]:
        """Stop the service that the task has started; await the result to wait for its end.

        Before it is up, this cancels the task.  What needs the service from then on fails with
        a ServiceStoppedError.

        Raises:
            TypeError: the task is no service.
        """
        raise TypeError(f"task {self.name!r} is no service, so it cannot be stopped; cancel it")

    def result(self) -> T:
        """Return the result of a task that is done.

        Raises:
            InvalidStateError: the task is not done: await the future.
            CancelledError: the task was cancelled.
            Exception: what the task raised.
        """
        # Not asked first whether it is done: `asyncio.gather` calls this for each task.
        try:
            return _result(self)
        except asyncio.InvalidStateError:
            if self.done():
                raise  # it is the task's own
            raise asyncio.InvalidStateError(
                f"task {self.name!r} ({self.id}) is not done, so it has no result yet: await its "
                "future; a program without asyncio uses radical.asyncflow.sync"
            ) from None

    def set_result(self, result: T, /) -> NoReturn:  # noqa: ARG002
        """Raise RuntimeError, as an `asyncio.Task` does: only the engine ends a task."""
        raise RuntimeError("the future of a task does not support set_result")

    def set_exception(
        self,
        exception: type[BaseException] | BaseException,  # noqa: ARG002
        /,
    ) -> NoReturn:
        """Raise RuntimeError, as an `asyncio.Task` does: only the engine ends a task."""
        raise RuntimeError("the future of a task does not support set_exception")

    def __getitem__(self, key: Any) -> TaskItem:
        """Return the item *key* of the result, as an argument of other calls, or to await."""
        return TaskItem(self, (key,))

    def __await__(self) -> Generator[Any, None, T]:
        if self._stage < TaskState.SUBMITTED:
            self._call.owner.request_pump()
        return _await(self)

    __iter__ = __await__

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"the future of task {self.name!r} cannot be sent to a worker: futures are found in "
            "lists, tuples, dicts and sets, but not inside other objects; pass it as an argument "
            "of its own, or await it first"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.name!r} {self._stage.public}>"

    def _repr_html_(self) -> str:
        from .._html import summary

        state = self.state
        error = None
        if state == TaskState.FAILED.public and self.done() and not self.cancelled():
            error = _exception(self)
        facts = [
            ("state", state),
            ("backend", self.backend or ""),
            ("workflow", self.workflow_id or ""),
            ("attempts", f"{self.attempts}" if self.attempts else ""),
            ("exit code", "" if self.exit_code is None else f"{self.exit_code}"),
            ("error", "" if error is None else error_line(error)),
        ]
        return summary(f"{self.name} ({self.id})", facts)


class RemoteTaskFuture(TaskFuture[T]):
    """A future whose value may stay where it was made until somebody wants it.

    Whoever awaits it, adds a callback or asks for the result wants the value; another task on
    the same backend does not.
    """

    __slots__ = ("_lineage", "_remote", "_wanted")

    _lineage: Any  # with failover, how the value was made, as long as it is elsewhere
    _remote: RemoteValue | None
    _wanted: bool

    @property
    def state(self) -> str:
        """The state of the task; CANCELLED or FAILED also if its value could not be fetched."""
        if self._stage is TaskState.DONE and self.done():
            if self.cancelled():
                return TaskState.CANCELLED.public
            if super().exception() is not None:
                return TaskState.FAILED.public
        return super().state

    def _want(self) -> None:
        if not self._wanted:
            self._wanted = True
            if self._remote is not None:
                self._call.owner.fetch(self)

    def add_done_callback(
        self, fn: Callable[[Any], object], /, *, context: Context | None = None
    ) -> None:
        self._want()
        super().add_done_callback(fn, context=context)

    def __await__(self) -> Generator[Any, None, T]:
        self._want()
        return super().__await__()

    __iter__ = __await__

    def result(self) -> T:
        self._want()
        return super().result()

    def exception(self) -> BaseException | None:
        self._want()
        return super().exception()

    def __del__(self) -> None:
        if self._remote is not None:
            self._remote.release()
        super().__del__()


def extras_of(future: TaskFuture[Any]) -> Extras:
    """Return the extras of *future*, created on first use."""
    if future._extras is None:
        future._extras = Extras()
    return future._extras


def result_of(source: Any) -> Any:
    """Return the result of a future that is done, or that item of it, without fetching a value.

    Raises:
        LookupError: there is no such item.
    """
    if isinstance(source, ItemOf):
        return item_of(source, result_of(source._future))
    return _result(source) if isinstance(source, TaskFuture) else source.result()


def clear(future: TaskFuture[Any]) -> None:
    """Drop everything that only an unfinished task needs."""
    future._args = ()
    future._kwargs = NO_KWARGS
    future._context = None
    extras = future._extras
    if extras is not None:
        extras.stop_timer()
        extras.work = None
        extras.arguments = extras.members = None
        extras.command = extras.headers = None
        if extras.files is not None:
            extras.files = extras.files.after_end()


def outside_awaitables(future: TaskFuture[Any]) -> Mapping[int, asyncio.Future[Any]]:
    """Return the outside awaitables among *future*'s arguments, by the id of the argument."""
    extras = future._extras
    if extras is None or extras.arguments is None:
        return {}
    return extras.arguments.outside_awaitables
