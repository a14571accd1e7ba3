"""The future of a task, which is the task itself as far as the engine is concerned.

Its documented attributes are public; what the engine keeps in it has an underscore.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Generator, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar
from weakref import WeakSet

from .._graph.scheduler import Node
from .._public import public
from .._text import task_id_text
from ..backend import ExecutableResult, RemoteValue
from ..model import TaskSpec, TaskState

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
    "Work",
    "clear",
    "extras_of",
    "outside_awaitables",
]

T = TypeVar("T")

_await = asyncio.Future.__await__

NO_KWARGS: dict[str, Any] = {}
"""Stands for no keyword arguments; shared, and never written to."""


class EndReason(enum.Enum):
    """Why the engine ends a task's running work."""

    CANCEL = enum.auto()
    TIMEOUT = enum.auto()
    HALT = enum.auto()


class Ending(NamedTuple):
    """How a task is being ended: why, and what was given to ``cancel``."""

    reason: EndReason
    message: Any = None


class Activity(enum.Enum):
    """What the engine itself does for a task in its loop; no report counts meanwhile."""

    LOOK_UP = "its result is looked up in the journal"
    PREPARE = "its files are staged, or the body that returns its command runs"
    BLOCK = "its body runs"
    CHECK_OUTPUTS = "its output files are checked"
    FETCH = "its value is brought here for the journal"


class Work(NamedTuple):
    """What the engine does for a task in its loop, and the asyncio task that does it."""

    activity: Activity
    task: asyncio.Task[Any]


class Arguments:
    """What was found inside of a call's arguments, beside plain values.

    Attributes:
        outside_awaitables: futures that are no tasks of this engine, by the id of the
            argument that each stands for.
        pinned: those arguments, so that their ids stay unique.
        dependencies: numbers of the tasks that it waits for or follows, where more may be
            put into its arguments after the call and its backend takes references.
    """

    __slots__ = ("dependencies", "outside_awaitables", "pinned")

    def __init__(self) -> None:
        self.outside_awaitables: dict[int, asyncio.Future[Any]] = {}
        self.pinned: list[Any] = []
        self.dependencies: set[int] | None = None


class Extras:
    """What only some tasks need; a plain function task has none.

    Attributes:
        work: what the engine does for it just now, if anything.
        ending: how it is being ended, if it is.
        timer: the pending timeout, retry or patience.
        arguments: what was found inside of its arguments, where there is more to say.
        command: what an executable's body returned.
        files: declared inputs and outputs.
        context: where a block's or an executable's body runs.
        headers: what plugins send along.
        members: the unfinished tasks of a block.
        result: how an executable ended.
        worker: who runs it.
        workflow_id: the workflow that it belongs to.
        origin: after a failure, the name of the task at its root and that one's error.
    """

    __slots__ = (
        "arguments",
        "command",
        "context",
        "ending",
        "files",
        "headers",
        "members",
        "origin",
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
        self.timer: asyncio.TimerHandle | None = None
        self.arguments: Arguments | None = None
        self.files: FileSet | None = None
        self.context: Context | None = None
        self.headers: tuple[Any, ...] | None = None
        self.members: WeakSet[TaskFuture[Any]] | None = None
        self.result: ExecutableResult | None = None
        self.worker: str | None = None
        self.workflow_id: str | None = None
        self.origin: tuple[str, BaseException] | None = None

    def stop_work(self) -> None:
        """Cancel what is done for the task in the loop."""
        if self.work is not None:
            self.work.task.cancel()

    def stop_timer(self) -> None:
        """Let go of the pending timeout, retry or patience."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


@public("radical.asyncflow")
class TaskFuture(Node, asyncio.Future[T]):
    """The result of a task that may not have run yet.

    An `asyncio.Future`: await it, gather it, give it a callback, cancel it, or pass it
    to another task as an argument.  Cancelling it, or the scope that awaits it, ends
    the work as far as the backend's capabilities say.
    """

    __slots__ = (*Node._FIELDS, "_binding", "_call", "_entry", "_extras")

    _extras: Extras | None
    _binding: int
    _call: Call
    _entry: Any  # the journal's; set, and looked at, only by an engine that has one

    @property
    def _spec(self) -> TaskSpec:
        """What all calls of the task share."""
        return self._call.spec

    @property
    def _lane(self) -> Any:
        """The backend that runs it, as the engine holds it; None for a block."""
        return self._call.lane

    @property
    def _native(self) -> bool:
        """Its backend orders it among others, unless files have to be staged before."""
        return self._call.native and (self._extras is None or self._extras.files is None)

    @property
    def _owner(self) -> Owner:
        """The machinery of its engine."""
        return self._call.owner

    @property
    def _origin(self) -> tuple[str, BaseException] | None:
        """After a failure: the task at its root, by name, and that one's error."""
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
        """Name of this call, unique in its engine: ``"task.000001"``."""
        return task_id_text(self._number)

    @property
    def name(self) -> str:
        """Name of the task: the function's, unless it was given one."""
        return self._spec.name

    @property
    def state(self) -> str:
        """PENDING, RUNNING, DONE, FAILED or CANCELLED."""
        if self._stage < TaskState.DONE:
            self._call.owner.take_reports()
        return self._stage.public

    @property
    def backend(self) -> str | None:
        """Name of the backend that runs it; None for a block."""
        lane = self._call.lane
        return None if lane is None else lane.name

    @property
    def attempts(self) -> int:
        """How many times it was tried."""
        sent = self._stage is not TaskState.PENDING and self._stage is not TaskState.READY
        return self._attempt if sent else self._attempt - 1

    @property
    def workflow_id(self) -> str | None:
        """The workflow that it belongs to, if any."""
        return None if self._extras is None else self._extras.workflow_id

    @property
    def exit_code(self) -> int | None:
        """An executable's exit code (``-N`` for signal *N*); None until it ended."""
        result = self._executed()
        return None if result is None else result.exit_code

    @property
    def stdout(self) -> str | None:
        """An executable's output, or the path of the file with ``capture_stdio``."""
        result = self._executed()
        return None if result is None else result.stdout

    @property
    def stderr(self) -> str | None:
        """An executable's error output, or the path of the file with ``capture_stdio``."""
        result = self._executed()
        return None if result is None else result.stderr

    def _executed(self) -> ExecutableResult | None:
        return None if self._extras is None else self._extras.result

    def cancel(self, msg: Any | None = None) -> bool:
        """End the task.

        A task that waits ends at once, and with it all that depends on it.  Work that
        runs and can be ended is: the future ends when that work has.  Otherwise (a
        function in a thread) the future ends at once and the work is told, by
        `radical.asyncflow.cancelled`.

        Returns:
            False if the future was done already.
        """
        if self.done():
            return False
        self._call.owner.cancel(self, msg)
        # Its result may have waited in the inbox.  Whoever awaits it must then cancel
        # himself: a True here would swallow the cancellation of his scope.
        return not self.done() or self.cancelled()

    def set_result(self, result: T, /) -> NoReturn:  # noqa: ARG002
        """As for an `asyncio.Task`: only the engine says how a task ended."""
        raise RuntimeError("the future of a task does not support set_result")

    def set_exception(
        self,
        exception: type[BaseException] | BaseException,  # noqa: ARG002
        /,
    ) -> NoReturn:
        """As for an `asyncio.Task`: only the engine says how a task ended."""
        raise RuntimeError("the future of a task does not support set_exception")

    def __await__(self) -> Generator[Any, None, T]:
        if self._stage < TaskState.SUBMITTED:
            self._call.owner.request_pump()
        return _await(self)

    __iter__ = __await__

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"the future of task {self.name!r} cannot travel to a worker: futures are found in "
            "lists, tuples, dicts and sets, and not inside other objects; hand it over as an "
            "argument, or await it first"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.name!r} {self._stage.public}>"


class RemoteTaskFuture(TaskFuture[T]):
    """A future whose value may stay where it was made until somebody wants it.

    Somebody who awaits it, adds a callback or asks for the result wants it; another
    task on the same backend does not.
    """

    __slots__ = ("_remote", "_wanted")

    _remote: RemoteValue | None
    _wanted: bool

    @property
    def state(self) -> str:
        """As for any future; CANCELLED or FAILED too if the value could not be brought here."""
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
    """Return the rarer attributes of *future*, made on first use."""
    if future._extras is None:
        future._extras = Extras()
    return future._extras


def clear(future: TaskFuture[Any]) -> None:
    """Let go of what only an unfinished task needs."""
    future._args = ()
    future._kwargs = NO_KWARGS
    extras = future._extras
    if extras is not None:
        extras.stop_timer()
        extras.work = None
        extras.arguments = extras.members = None
        extras.files = extras.context = extras.command = extras.headers = None


def outside_awaitables(future: TaskFuture[Any]) -> Mapping[int, asyncio.Future[Any]]:
    """Return the futures of others among *future*'s arguments, by the id of the argument."""
    extras = future._extras
    if extras is None or extras.arguments is None:
        return {}
    return extras.arguments.outside_awaitables
