"""Tasks that any thread calls, and the decorators that make them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Protocol, TypeVar, overload

from .._public import public
from .._threads.calls import Call, Calls
from .._threads.futures import TaskFuture
from ..engine import WorkflowEngine

if TYPE_CHECKING:
    from typing import Unpack

    from .._task.function import TaskFunction as EngineTask
    from .._task.options import TaskOptions
    from ..model import TaskSpec

__all__ = ["Decorators", "TaskFunction"]

P = ParamSpec("P")
R = TypeVar("R")

Async = Callable[P, Coroutine[Any, Any, R]]


@public("radical.asyncflow.sync")
class TaskFunction(Generic[P, R]):
    """A function whose calls are tasks: what the decorators of a `Flow` return.

    A call returns its `TaskFuture` at once; the body runs when every future among the
    arguments is done.  Inside a block, which runs in the engine's loop, a call returns the
    `radical.asyncflow.TaskFuture` that the block awaits.
    """

    def __init__(self, task: EngineTask[P, R], calls: Calls) -> None:
        functools.update_wrapper(self, task, updated=())
        self._task = task
        self._calls = calls

    @property
    def name(self) -> str:
        """The name of the task, as users and dashboards see it."""
        return self._task.name

    @property
    def spec(self) -> TaskSpec:
        """Everything that the calls of this task share, such as its body and its options."""
        return self._task.spec

    def options(self, **options: Unpack[TaskOptions]) -> TaskFunction[P, R]:
        """Return the same task with other options; this one stays as it is.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
        """
        return TaskFunction(self._task.options(**options), self._calls)

    def __call__(self, /, *args: Any, **kwargs: Any) -> TaskFuture[R]:
        """Make a task.  Arguments may be futures, or hold futures in lists, tuples, dicts and sets.

        Args:
            workflow_id: the workflow that the task belongs to, unless the body has a
                parameter of that name; that of the enclosing ``workflow_scope`` by default.
            task_description: what to ask for beside the options of the task.

        Raises:
            EngineClosedError: the engine was shut down.
            TypeError: the body does not take these arguments.
            ConfigurationError: there is no such backend, or it cannot honour an option.
        """
        calls = self._calls
        if calls.is_own_thread():
            return self._task(*args, **kwargs)  # type: ignore[return-value]
        task, args, kwargs = self._task._settled(args, kwargs)
        task._check_arguments(args, kwargs)
        if task._call is None:
            calls.run(task._bind)
        future: TaskFuture[R] = TaskFuture(calls, task.name)
        calls.put(Call(task, args, kwargs, copy_context(), future))
        return future

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"task {self.name!r} belongs to its flow and cannot travel to a worker: a function "
            "that calls tasks has to be a block (@flow.block); to run the body of one, call its "
            "__wrapped__"
        )

    def __repr__(self) -> str:
        return repr(self._task)


class AnyTask(Protocol):
    """A decorator with its options."""

    @overload
    def __call__(self, function: Async[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...


class TextTask(Protocol):
    """A decorator with its options; the result of its tasks is text."""

    def __call__(self, function: Callable[P, Any], /) -> TaskFunction[P, str]: ...


class BlockTask(Protocol):
    """A decorator with its options; it takes async functions only."""

    def __call__(self, function: Async[P, R], /) -> TaskFunction[P, R]: ...


class Decorators:
    """The decorators of a `Flow`, with the options of those of `WorkflowEngine`."""

    _calls: Calls
    _engine: WorkflowEngine

    @overload
    def function_task(self, function: Async[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def function_task(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def function_task(
        self, function: None = None, /, **options: Unpack[TaskOptions]
    ) -> AnyTask: ...
    def function_task(self, function: Any = None, /, **options: Any) -> Any:
        """Make a task of a sync or async function: it runs on the backend.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
            TypeError: *function* is no function.
        """
        return self._decorate(self._engine.function_task, function, options)

    @overload
    def executable_task(self, function: Callable[P, Any], /) -> TaskFunction[P, str]: ...
    @overload
    def executable_task(
        self, function: None = None, /, **options: Unpack[TaskOptions]
    ) -> TextTask: ...
    def executable_task(self, function: Any = None, /, **options: Any) -> Any:
        """Make a task of a function that returns a command: its result is what that prints.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
            TypeError: *function* is no function.
        """
        return self._decorate(self._engine.executable_task, function, options)

    @overload
    def prompt_task(self, function: Callable[P, Any], /) -> TaskFunction[P, str]: ...
    @overload
    def prompt_task(self, function: None = None, /, **options: Unpack[TaskOptions]) -> TextTask: ...
    def prompt_task(self, function: Any = None, /, **options: Any) -> Any:
        """Make a task of a function that returns a prompt: its result is the answer.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
            TypeError: *function* is no function.
        """
        return self._decorate(self._engine.prompt_task, function, options)

    @overload
    def block(self, function: Async[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def block(self, function: None = None, /, **options: Unpack[TaskOptions]) -> BlockTask: ...
    def block(self, function: Any = None, /, **options: Any) -> Any:
        """Make a task of an async function that calls tasks and awaits them.

        It runs in the loop of the engine, in the engine's thread.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
            TypeError: *function* is no async function.
        """
        return self._decorate(self._engine.block, function, options)

    def _decorate(self, decorator: Any, function: Any, options: dict[str, Any]) -> Any:
        made = decorator(function, **options)

        if function is not None:
            return TaskFunction(made, self._calls)

        def decorate(body: Callable[..., Any]) -> TaskFunction[..., Any]:
            return TaskFunction(made(body), self._calls)

        return decorate
