"""A decorated function: calling it makes a task."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar, Unpack, overload

from .._public import public
from ..model import TaskSpec
from .call import Call
from .future import TaskFuture
from .options import TaskOptions, change_spec
from .owner import Owner

__all__ = ["TaskFunction"]

P = ParamSpec("P")
R = TypeVar("R")


@public("radical.asyncflow")
class TaskFunction(Generic[P, R]):
    """What the engine's decorators return.

    Calling it returns a `TaskFuture` at once; the body runs when every future among
    the arguments is done.  Each parameter takes a value or a future of it.
    """

    def __init__(self, owner: Owner, spec: TaskSpec) -> None:
        functools.update_wrapper(self, spec.function)
        self._owner = owner
        self._spec = spec
        self._call: Call | None = None
        self._signature = _signature(spec.function)
        self._least, self._most = _arity(self._signature)
        # A body with a parameter of that name gets it; any other call may be given one.
        self._takes_workflow = (
            self._signature is not None and "workflow_id" in self._signature.parameters
        )

    @property
    def name(self) -> str:
        """Name of the task."""
        return self._spec.name

    @property
    def spec(self) -> TaskSpec:
        """What all calls of this task share."""
        return self._spec

    def options(self, **options: Unpack[TaskOptions]) -> TaskFunction[P, R]:
        """The same task with other options; this one stays as it is.

        Raises:
            ConfigurationError: all that is wrong with them, in one message.
        """
        return TaskFunction(self._owner, change_spec(self._spec, options))

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]: ...
    @overload
    def __call__(self, *args: Any, workflow_id: str, **kwargs: Any) -> TaskFuture[R]: ...
    @overload
    def __call__(self, *args: Any, **kwargs: Any) -> TaskFuture[R]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> TaskFuture[R]:
        """Make a task.  Arguments may be futures, or hold futures in containers.

        Raises:
            EngineClosedError: the engine was shut down.
            TypeError: the body does not take these arguments.
            ConfigurationError: no such backend, or it cannot honour an option.
        """
        workflow_id = None
        try:
            if kwargs:
                if not self._takes_workflow:
                    workflow_id = kwargs.pop("workflow_id", None)
                if self._signature is not None:
                    self._signature.bind(*args, **kwargs)
            elif not self._least <= len(args) <= self._most and self._signature is not None:
                self._signature.bind(*args)
        except TypeError as error:
            raise self._misfit(error) from None
        call = self._call
        if call is None:
            call = self._call = self._owner.bind(self._spec)
        future: TaskFuture[R] = call.owner.register(call, args, kwargs, workflow_id)
        return future

    def _misfit(self, error: TypeError) -> TypeError:
        """*error* about the arguments, with the name of the task."""
        hint = ""
        if self._signature is not None and next(iter(self._signature.parameters), "") == "self":
            hint = (
                "; a task that is decorated in its class gets no instance: make it from the "
                "bound method, flow.function_task(thing.method)"
            )
        return TypeError(f"task {self.name!r}: {error}{hint}")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"task {self.name!r} belongs to its engine and cannot travel to a worker: a function "
            "that calls tasks has to be a block (@flow.block); to run the body of one, call its "
            "__wrapped__"
        )

    def __repr__(self) -> str:
        return f"<{self._spec.kind} task {self._spec.name!r}>"


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # a built-in that does not tell
        return None


def _arity(signature: inspect.Signature | None) -> tuple[int, int]:
    """The fewest and the most positional arguments that need no closer look."""
    if signature is None:
        return 0, sys.maxsize
    least = most = 0
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = sys.maxsize
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            least += parameter.default is parameter.empty
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            return 1, 0  # a call without keywords can only be wrong: let bind() say how
    return least, most
