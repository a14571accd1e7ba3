"""The four decorators, for `WorkflowEngine` to inherit."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    ParamSpec,
    Protocol,
    SupportsFloat,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from ..model import Answer, Prompt, TaskKind
from .function import TaskFunction
from .options import TaskOptions, check_options, make_spec
from .owner import Owner
from .service_class import ServiceClass, decorate_class

__all__ = ["TaskDecorators"]

if TYPE_CHECKING:
    from pydantic import BaseModel

P = ParamSpec("P")
R = TypeVar("R")
Model = TypeVar("Model", bound="BaseModel")

Async = Callable[P, Coroutine[Any, Any, R]]
Asks = Callable[P, Prompt[R] | Coroutine[Any, Any, Prompt[R]]]

Data = TypeVar("Data", bound=SupportsFloat | complex | Iterable[Any] | None)
"""A result that is certainly no coroutine.

Overloads that take any body try it first: mypy would else read the ``T`` that
``def identity(value: T) -> T`` returns as a coroutine, and take the body for an async one.
"""


class AnyTask(Protocol):
    """A decorator with its options; it takes a body of either kind, sync or async."""

    @overload
    def __call__(self, function: Callable[P, Data], /) -> TaskFunction[P, Data]: ...
    @overload
    def __call__(self, function: Async[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...


class TextTask(Protocol):
    """A decorator with its options; the result of its tasks is text, whatever a body returns."""

    def __call__(self, function: Callable[P, Any], /) -> TaskFunction[P, str]: ...


class PromptTask(Protocol):
    """A decorator with its options; the result of its tasks is an answer, or a model of it."""

    @overload
    def __call__(self, function: Asks[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Model], /) -> TaskFunction[P, Model]: ...
    @overload
    def __call__(self, function: Callable[P, Any], /) -> TaskFunction[P, Answer]: ...


class BlockTask(Protocol):
    """A decorator with its options; it takes async functions only."""

    def __call__(self, function: Async[P, R], /) -> TaskFunction[P, R]: ...


class TaskDecorators:
    """The decorators that make tasks of functions.

    Use each of them bare, ``@flow.function_task``, or with options,
    ``@flow.function_task(retries=3)``; `TaskOptions` lists these.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    @overload
    def function_task(self, function: Callable[P, Data], /) -> TaskFunction[P, Data]: ...
    @overload
    def function_task(self, function: Async[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def function_task(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def function_task(
        self, function: None = None, /, **options: Unpack[TaskOptions]
    ) -> AnyTask: ...
    def function_task(self, function: Any = None, /, **options: Any) -> Any:
        """Make a task of a sync or async function: it runs on the backend, and returns the result.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
            TypeError: *function* is no function.
        """
        return self._decorate(TaskKind.FUNCTION, function, options)

    @overload
    def executable_task(self, function: Callable[P, Any], /) -> TaskFunction[P, str]: ...
    @overload
    def executable_task(
        self, function: None = None, /, **options: Unpack[TaskOptions]
    ) -> TextTask: ...
    def executable_task(self, function: Any = None, /, **options: Any) -> Any:
        """Make a task of a function that returns a command: its result is what that prints.

        The function, sync or async, runs in the engine's loop once its arguments are there;
        the backend runs the command.  A `str` is a command line for the shell, a list of
        strings is executed without a shell, and a `Command` adds environment, folder and
        input.  A non-zero exit code raises ExecutableError.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
            TypeError: *function* is no function.
        """
        return self._decorate(TaskKind.EXECUTABLE, function, options)

    @overload
    def prompt_task(self, function: Asks[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def prompt_task(self, function: Callable[P, Model], /) -> TaskFunction[P, Model]: ...
    @overload
    def prompt_task(self, function: Callable[P, Any], /) -> TaskFunction[P, Answer]: ...
    @overload
    def prompt_task(
        self, function: None = None, /, **options: Unpack[TaskOptions]
    ) -> PromptTask: ...
    def prompt_task(self, function: Any = None, /, **options: Any) -> Any:
        """Make a task of a function that returns a prompt: its result is the backend's answer.

        The function, sync or async, runs in the engine's loop once its arguments are there.  It
        returns a `str`, a list of chat messages or a `Prompt`, and the result is an `Answer`.  If
        its return annotation is ``Prompt[Model]``, or a pydantic model, the backend has to answer
        with JSON for that model, and the result is an instance of it.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
            TypeError: *function* is no function.
        """
        return self._decorate(TaskKind.PROMPT, function, options)

    @overload
    def block(self, function: Async[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def block(self, function: None = None, /, **options: Unpack[TaskOptions]) -> BlockTask: ...
    def block(self, function: Any = None, /, **options: Any) -> Any:
        """Make a task of an async function that calls tasks; it runs in the engine's loop.

        The tasks that it called are its members: they are cancelled with it.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
            TypeError: *function* is no async function.
        """
        return self._decorate(TaskKind.BLOCK, function, options)

    @overload
    def service(self, kind: type, /) -> ServiceClass: ...
    @overload
    def service(
        self, kind: None = None, /, **options: Unpack[TaskOptions]
    ) -> Callable[[type], ServiceClass]: ...
    def service(self, kind: type | None = None, /, **options: Any) -> Any:
        """Make a service of a class: an instance lives in one worker, and its methods are tasks.

        A call of the class starts a service, and a call of a method of that is a task that
        runs there, in order.  What the instance knows stays from call to call.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
            TypeError: *kind* is no class.
        """
        return decorate_class(self._owner, kind, options)

    def _decorate(self, kind: TaskKind, function: Any, options: Mapping[str, Any]) -> Any:
        def decorate(body: Callable[..., Any]) -> TaskFunction[..., Any]:
            return TaskFunction(self._owner, make_spec(body, kind, options))

        if function is None:
            check_options(options, kind)  # wrong options are wrong here and now
            return decorate
        return decorate(cast(Callable[..., Any], function))
