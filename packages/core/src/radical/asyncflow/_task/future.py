"""The future of a task, which is the task itself as far as the engine is concerned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from weakref import WeakSet

from .._graph.scheduler import Node
from .._public import public
from ..backend import ExecutableResult, RemoteValue
from ..model import TaskSpec, TaskState

if TYPE_CHECKING:
    from .._dispatch.dispatcher import Dispatcher
    from .._files.declared import FileSet
    from .._resume.entry import Entry
    from .call import Call

__all__ = ["NO_KWARGS", "Aux", "RemoteTaskFuture", "TaskFuture", "aux_of", "clear"]

T = TypeVar("T")

_await = asyncio.Future.__await__

NO_KWARGS: dict[str, Any] = {}
"""Stands for no keyword arguments; shared, and never written to."""


class Aux:
    """What only some tasks need; a plain function task has none.

    Attributes:
        ending: why its running work is being ended: "cancel", "timeout", "halt" or None.
        message: what was given to ``cancel``.
        timer: the pending timeout, retry or patience.
        foreign: futures of others among the arguments, by the id of what was passed.
        keep: what was passed, so that those ids stay unique.
        linked: numbers of the tasks that it waits for or follows, where more may be put
            into its arguments after the call and its backend takes references.
        command: what an executable's body returned.
        files: declared inputs and outputs.
        preparing: the asyncio task that stages files and runs the body, or that checks
            the outputs; no report counts meanwhile.
        context: where a block's or an executable's body runs.
        headers: what plugins send along.
        members: the unfinished tasks of a block.
        result: how an executable ended.
        origin: after a failure, the name of the task at its root and that one's error.
    """

    __slots__ = (
        "command",
        "context",
        "ending",
        "files",
        "foreign",
        "headers",
        "keep",
        "linked",
        "members",
        "message",
        "origin",
        "preparing",
        "result",
        "timer",
        "worker",
        "workflow_id",
    )

    def __init__(self) -> None:
        self.command: object = None
        self.ending: str | None = None
        self.message: Any = None
        self.timer: asyncio.TimerHandle | None = None
        self.foreign: dict[int, asyncio.Future[Any]] | None = None
        self.keep: list[Any] | None = None
        self.linked: set[int] | None = None
        self.files: FileSet | None = None
        self.preparing: asyncio.Task[Any] | None = None
        self.context: Context | None = None
        self.headers: tuple[Any, ...] | None = None
        self.members: WeakSet[TaskFuture[Any]] | None = None
        self.result: ExecutableResult | None = None
        self.worker: str | None = None
        self.workflow_id: str | None = None
        self.origin: tuple[str, BaseException] | None = None


@public("radical.asyncflow")
class TaskFuture(Node, asyncio.Future[T]):
    """The result of a task that may not have run yet.

    An `asyncio.Future`: await it, gather it, give it a callback, cancel it, or pass it
    to another task as an argument.  Cancelling it, or the scope that awaits it, ends
    the work as far as the backend's capabilities say.
    """

    __slots__ = (*Node.FIELDS, "aux", "binding", "call", "entry")

    aux: Aux | None
    binding: int
    call: Call
    entry: Entry  # set, and looked at, only by an engine with a journal

    @property
    def spec(self) -> TaskSpec:
        """What all calls of the task share."""
        return self.call.spec

    @property
    def lane(self) -> Any:
        """The backend that runs it, as the engine holds it; None for a block."""
        return self.call.lane

    @property
    def native(self) -> bool:
        """Its backend orders it among others, unless files have to be staged before."""
        return self.call.native and (self.aux is None or self.aux.files is None)

    @property
    def dispatcher(self) -> Dispatcher:
        """The machinery of its engine."""
        return self.call.dispatcher

    @property
    def origin(self) -> tuple[str, BaseException] | None:
        """After a failure: the task at its root, by name, and that one's error."""
        return None if self.aux is None else self.aux.origin

    @origin.setter
    def origin(self, origin: tuple[str, BaseException] | None) -> None:
        if self.aux is None:
            if origin is None:
                return
            self.aux = Aux()
        self.aux.origin = origin

    @property
    def id(self) -> str:
        """Name of this call, unique in its engine: ``"task.000001"``."""
        return f"task.{self.number:06d}"

    @property
    def name(self) -> str:
        """Name of the task: the function's, unless it was given one."""
        return self.spec.name

    @property
    def state(self) -> str:
        """PENDING, RUNNING, DONE, FAILED or CANCELLED."""
        if self.stage < TaskState.DONE:
            self.dispatcher.absorb()
        return self.stage.public

    @property
    def backend(self) -> str | None:
        """Name of the backend that runs it; None for a block."""
        lane = self.call.lane
        return None if lane is None else lane.name

    @property
    def attempts(self) -> int:
        """How many times it was tried."""
        sent = self.stage is not TaskState.PENDING and self.stage is not TaskState.READY
        return self.attempt if sent else self.attempt - 1

    @property
    def workflow_id(self) -> str | None:
        """The workflow that it belongs to, if any."""
        return None if self.aux is None else self.aux.workflow_id

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
        return None if self.aux is None else self.aux.result

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
        self.dispatcher.outcomes.end(self, "cancel", msg)
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
        if self.stage < TaskState.SUBMITTED:
            self.dispatcher.hurry()
        return _await(self)

    __iter__ = __await__

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"the future of task {self.name!r} cannot travel to a worker: futures are found in "
            "lists, tuples, dicts and sets, and not inside other objects; hand it over as an "
            "argument, or await it first"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.name!r} {self.stage.public}>"


class RemoteTaskFuture(TaskFuture[T]):
    """A future whose value may stay where it was made until somebody wants it.

    Somebody who awaits it, adds a callback or asks for the result wants it; another
    task on the same backend does not.
    """

    __slots__ = ("remote", "wanted")

    remote: RemoteValue | None
    wanted: bool

    @property
    def state(self) -> str:
        """As for any future; CANCELLED or FAILED too if the value could not be brought here."""
        if self.stage is TaskState.DONE and self.done():
            if self.cancelled():
                return TaskState.CANCELLED.public
            if super().exception() is not None:
                return TaskState.FAILED.public
        return super().state

    def _want(self) -> None:
        if not self.wanted:
            self.wanted = True
            if self.remote is not None:
                self.dispatcher.outcomes.fetch(self)

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
        if self.remote is not None:
            self.remote.release()
        super().__del__()


def aux_of(node: TaskFuture[Any]) -> Aux:
    """The rarer attributes of *node*, made on first use."""
    if node.aux is None:
        node.aux = Aux()
    return node.aux


def clear(node: TaskFuture[Any]) -> None:
    """Let go of what only an unfinished task needs."""
    node.args = ()
    node.kwargs = NO_KWARGS
    aux = node.aux
    if aux is not None:
        if aux.timer is not None:
            aux.timer.cancel()
            aux.timer = None
        aux.members = None
        aux.foreign = aux.keep = aux.linked = None
        aux.files = aux.preparing = aux.context = aux.command = aux.headers = None
