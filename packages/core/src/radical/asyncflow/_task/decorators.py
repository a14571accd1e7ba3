"""The four decorators, for `WorkflowEngine` to inherit."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from ..model import TaskKind
from .function import TaskFunction
from .options import TaskOptions, check_options, make_spec
from .owner import Owner

__all__ = ["TaskDecorators"]

P = ParamSpec("P")
R = TypeVar("R")

Async = Callable[P, Coroutine[Any, Any, R]]


class AnyTask(Protocol):
    """A decorator that was given its options: an async body's result is what it returns."""

    @overload
    def __call__(self, function: Async[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...


class TextTask(Protocol):
    """A decorator whose tasks result in text, whatever their bodies return."""

    def __call__(self, function: Callable[P, Any], /) -> TaskFunction[P, str]: ...


class BlockTask(Protocol):
    """A decorator for async functions alone."""

    def __call__(self, function: Async[P, R], /) -> TaskFunction[P, R]: ...


class TaskDecorators:
    """Each bare, ``@flow.function_task``, or with options, ``@flow.function_task(retries=3)``."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    @overload
    def function_task(self, function: Async[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def function_task(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def function_task(
        self, function: None = None, /, **options: Unpack[TaskOptions]
    ) -> AnyTask: ...
    def function_task(self, function: Any = None, /, **options: Any) -> Any:
        """The body, a sync or async function, runs on the backend; its value is the result."""
        return self._decorate(TaskKind.FUNCTION, function, options)

    @overload
    def executable_task(self, function: Callable[P, Any], /) -> TaskFunction[P, str]: ...
    @overload
    def executable_task(
        self, function: None = None, /, **options: Unpack[TaskOptions]
    ) -> TextTask: ...
    def executable_task(self, function: Any = None, /, **options: Any) -> Any:
        """The body returns a command, and the backend runs that; the result is its stdout.

        The body runs in the engine's loop once its arguments are there.  A `str` is a
        command line for the shell, a list of strings is executed without one, a `Command`
        adds environment, folder and input.  A non-zero exit code raises ExecutableError.
        """
        return self._decorate(TaskKind.EXECUTABLE, function, options)

    @overload
    def prompt_task(self, function: Callable[P, Any], /) -> TaskFunction[P, str]: ...
    @overload
    def prompt_task(self, function: None = None, /, **options: Unpack[TaskOptions]) -> TextTask: ...
    def prompt_task(self, function: Any = None, /, **options: Any) -> Any:
        """The body returns a prompt, for a backend that answers prompts."""
        return self._decorate(TaskKind.PROMPT, function, options)

    @overload
    def block(self, function: Async[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def block(self, function: None = None, /, **options: Unpack[TaskOptions]) -> BlockTask: ...
    def block(self, function: Any = None, /, **options: Any) -> Any:
        """The body, an async function, runs in the engine's loop and may call tasks.

        The tasks that it called are its members: they are cancelled with it.
        """
        return self._decorate(TaskKind.BLOCK, function, options)

    def _decorate(self, kind: TaskKind, function: Any, options: Mapping[str, Any]) -> Any:
        def decorate(body: Callable[..., Any]) -> TaskFunction[..., Any]:
            return TaskFunction(self._owner, make_spec(body, kind, options))

        if function is None:
            check_options(options, kind)  # wrong options are wrong here and now
            return decorate
        return decorate(cast(Callable[..., Any], function))
