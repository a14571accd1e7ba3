"""A decorated function: calling it makes a task."""

from __future__ import annotations

import functools
import inspect
import marshal
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, Unpack, overload

from .._public import public
from ..model import TaskSpec
from .call import Call
from .description import PARAMETER, place_of_parameter, whole_description
from .future import TaskFuture
from .options import TaskOptions, change_spec
from .owner import Owner

if TYPE_CHECKING:
    from .parameters import (
        A,
        B,
        C,
        D,
        DictOf,
        E,
        Given,
        K,
        ListOf,
        Q,
        Takes0,
        Takes1,
        Takes2,
        Takes3,
        Takes4,
        Takes5,
    )

__all__ = ["TaskFunction"]

KEPT_AT_MOST = 256
"""How many different options, and descriptions of calls, a task remembers."""

_PLAIN = frozenset({str, int, float, bool, type(None)})

P = ParamSpec("P")
R = TypeVar("R")


@public("radical.asyncflow")
class TaskFunction(Generic[P, R]):
    """A function whose calls are tasks: what the decorators of an engine return.

    A call returns its `TaskFuture` at once; the body runs when every future among the
    arguments is done.

    For a parameter of type ``T``, type checkers accept a ``T`` or an awaitable of a ``T``,
    such as a ``TaskFuture[T]``.  They refuse a wrong type, a wrong name and a wrong number
    of arguments.  The engine itself takes futures anywhere; checkers have these limits:

    - A future is accepted as one of the first five positional arguments.  A list of futures
      is accepted as one of the first three, or two lists as the first two; a dict of
      futures as one of the first two.  Tuples, sets and nested containers of futures are
      refused.
    - A future by name is accepted where the body can be called without that argument,
      beside three positional arguments at most and no plain value by name.  Neither its
      name nor its type is checked.
    - With ``workflow_id=``, only the types of the first two positional arguments are
      checked.  Calls inside ``flow.workflow_scope()`` are checked in full.
    - The task of a generic body takes plain values.  For futures, state its types:
      ``same: TaskFunction[[int], int] = flow.function_task(identity)``.
    """

    if TYPE_CHECKING:  # update_wrapper sets it, on the instance

        @property
        def __wrapped__(self) -> Callable[P, Any]:
            """The body itself, which runs here and now when it is called."""

    def __init__(self, owner: Owner, spec: TaskSpec) -> None:
        functools.update_wrapper(self, spec.function, updated=())
        # Of the attributes of the body, none may stand in the place of the task's own.
        for name, value in getattr(spec.function, "__dict__", {}).items():
            if not hasattr(TaskFunction, name):
                self.__dict__[name] = value
        self._owner = owner
        self._spec = spec
        self._call: Call | None = None
        self._signature = _signature(spec.function)
        self._least, self._most = _arity(self._signature)
        # What a call may ask for as `task_description`, by name or, if the body has such a
        # parameter, by position; what is given so needs a closer look.
        self._description_key = PARAMETER
        self._description_place = place_of_parameter(self._signature)
        self._most = min(self._most, self._description_place)
        self._described: dict[bytes, TaskFunction[P, R]] | None = None
        # Specs with other options, of this task and of those that were made of it.
        self._variants: dict[tuple[TaskSpec, bytes], TaskSpec] | None = None
        # A body with a parameter of that name gets it; any other call may be given one.
        self._takes_workflow = (
            self._signature is not None and "workflow_id" in self._signature.parameters
        )

    @property
    def name(self) -> str:
        """The name of the task, as users and dashboards see it."""
        return self._spec.name

    @property
    def spec(self) -> TaskSpec:
        """Everything that the calls of this task share, such as its body and its options."""
        return self._spec

    def options(self, **options: Unpack[TaskOptions]) -> TaskFunction[P, R]:
        """Return the same task with other options; this one stays as it is.

        Raises:
            ConfigurationError: an option is wrong; the message has every problem.
        """
        task: TaskFunction[P, R] = TaskFunction(self._owner, self._variant(options))
        task._variants = self._variants
        return task

    def _variant(self, options: Mapping[str, Any]) -> TaskSpec:
        """Return the spec of this task with other *options*; those that are equal share it.

        So a loop that gives options at each call leaves no more behind than one that does not.
        """
        if not _is_plain(options):
            return change_spec(self._spec, options)
        key = self._spec, marshal.dumps(dict(options), 2)
        if self._variants is None:
            self._variants = {}
        spec = self._variants.get(key)
        if spec is None:
            # From a copy, because the program may change what it gave, such as a dict.
            spec = change_spec(self._spec, marshal.loads(key[1]))
            if len(self._variants) >= KEPT_AT_MOST:
                self._variants.clear()
            self._variants[key] = spec
        return spec

    def _settled(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[TaskFunction[P, R], tuple[Any, ...], dict[str, Any]]:
        """Return the task that a call asks for in its ``task_description``, and its arguments.

        A body with such a parameter gets what the call gives, added to the parameter's default.

        Raises:
            ConfigurationError: what it asks for is wrong; the message has every problem.
            TypeError: it is there twice.
        """
        place = self._description_place
        by_name = self._description_key in kwargs
        if not by_name and len(args) <= place:
            return self, args, kwargs
        if by_name and len(args) > place:
            self._bind_arguments(args, kwargs)
        kwargs = dict(kwargs)
        given = kwargs.pop(PARAMETER) if by_name else args[place]
        task = self._with_description(given)
        whole = whole_description(self._spec.function, given)
        if not by_name:
            args = (*args[:place], whole, *args[place + 1 :])
        elif whole is not None:
            kwargs[PARAMETER] = whole
        return task, args, kwargs

    def _call_settled(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskFuture[R]:
        task, args, kwargs = self._settled(args, kwargs)
        return task(*args, **kwargs)

    def _with_description(self, given: Any) -> TaskFunction[P, R]:
        """Return this task with *given* added to its ``task_description``; equal ones share it."""
        key = marshal.dumps(given, 2) if _is_plain(given) else b""
        if self._described is None:
            self._described = {}
        task = self._described.get(key)
        if task is None:
            task = object.__new__(type(self))
            task.__dict__.update(self.__dict__)
            # From a copy, because the program may change what it gave, such as a dict.
            kept = marshal.loads(key) if key else given
            task._spec = change_spec(self._spec, {PARAMETER: kept})
            task._call = task._described = task._variants = None
            task._ignore_descriptions()
            if key:
                if len(self._described) >= KEPT_AT_MOST:
                    self._described.clear()
                self._described[key] = task
        return task

    def _check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise TypeError if the body does not take these arguments."""
        if self._signature is not None and (kwargs or not self._least <= len(args) <= self._most):
            given = dict(kwargs)
            if not self._takes_workflow:
                given.pop("workflow_id", None)
            self._bind_arguments(args, given)

    def _bind_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError, with the name of the task, if the signature does not fit."""
        assert self._signature is not None
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise self._misfit(error) from None

    def _ignore_descriptions(self) -> None:
        """Let each call pass on a ``task_description`` as an argument like any other."""
        self._description_key, self._description_place = "", sys.maxsize

    def _bind(self) -> Call:
        """Return what all calls share; choose the backend if that was not done yet."""
        if self._call is None:
            self._call = self._owner.bind(self._spec)
        return self._call

    def _misfit(self, error: TypeError) -> TypeError:
        """Name the task in *error*, which is about the arguments of a call."""
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

    # What a checker shows first: plain values, by position or by name.
    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R]: ...
    # Futures among the first five arguments.
    @overload
    def __call__(
        self: Takes1[A, Q], a: Given[A], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes2[A, B, Q], a: Given[A], b: Given[B], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes3[A, B, C, Q],
        a: Given[A],
        b: Given[B],
        c: Given[C],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes4[A, B, C, D, Q],
        a: Given[A],
        b: Given[B],
        c: Given[C],
        d: Given[D],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes5[A, B, C, D, E, Q],
        a: Given[A],
        b: Given[B],
        c: Given[C],
        d: Given[D],
        e: Given[E],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> TaskFuture[R]: ...
    # A list or a dict that holds futures.
    @overload
    def __call__(
        self: Takes1[list[A], Q], a: ListOf[A], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes2[list[A], B, Q], a: ListOf[A], b: Given[B], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes2[A, list[B], Q], a: Given[A], b: ListOf[B], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes2[list[A], list[B], Q],
        a: ListOf[A],
        b: ListOf[B],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes3[list[A], B, C, Q],
        a: ListOf[A],
        b: Given[B],
        c: Given[C],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes3[A, list[B], C, Q],
        a: Given[A],
        b: ListOf[B],
        c: Given[C],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes3[A, B, list[C], Q],
        a: Given[A],
        b: Given[B],
        c: ListOf[C],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes1[dict[K, A], Q], a: DictOf[K, A], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes2[dict[K, A], B, Q],
        a: DictOf[K, A],
        b: Given[B],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes2[A, dict[K, B], Q],
        a: Given[A],
        b: DictOf[K, B],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> TaskFuture[R]: ...
    # Futures by name, where the body can be called without them.
    @overload
    def __call__(self: Takes0[[]], /, **futures: Awaitable[Any]) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes1[A, []], a: Given[A], /, **futures: Awaitable[Any]
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes2[A, B, []], a: Given[A], b: Given[B], /, **futures: Awaitable[Any]
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes3[A, B, C, []],
        a: Given[A],
        b: Given[B],
        c: Given[C],
        /,
        **futures: Awaitable[Any],
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes1[list[A], []], a: ListOf[A], /, **futures: Awaitable[Any]
    ) -> TaskFuture[R]: ...
    # A description: where the body has no such parameter, only the rest is checked where it runs.
    @overload
    def __call__(
        self, /, *rest: Any, task_description: Mapping[str, Any] | None, **keywords: Any
    ) -> TaskFuture[R]: ...
    # A workflow's id: beside a name of its own, an overload cannot have those of a ParamSpec.
    @overload
    def __call__(self, /, *, workflow_id: str, **keywords: Any) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes1[A, ...],
        a: Given[A] | list[Any] | dict[Any, Any],
        /,
        *,
        workflow_id: str,
        **keywords: Any,
    ) -> TaskFuture[R]: ...
    @overload
    def __call__(
        self: Takes2[A, B, ...],
        a: Given[A] | list[Any] | dict[Any, Any],
        b: Given[B] | list[Any] | dict[Any, Any],
        /,
        *rest: Any,
        workflow_id: str,
        **keywords: Any,
    ) -> TaskFuture[R]: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> TaskFuture[R]:
        """Make a task.  Arguments may be futures, or hold futures in containers.

        Args:
            workflow_id: the workflow that the task belongs to, unless the body has a
                parameter of that name; that of the enclosing ``workflow_scope`` by default.
            task_description: what to ask for beside the options of the task, as in
                `TaskOptions`.

        Raises:
            EngineClosedError: the engine was shut down.
            TypeError: the body does not take these arguments.
            ConfigurationError: there is no such backend, or it cannot honour an option.
        """
        workflow_id = None
        if kwargs:
            if self._description_key in kwargs or len(args) > self._description_place:
                return self._call_settled(args, kwargs)
            if not self._takes_workflow:
                workflow_id = kwargs.pop("workflow_id", None)
            if self._signature is not None:
                self._bind_arguments(args, kwargs)
        elif not self._least <= len(args) <= self._most and self._signature is not None:
            if len(args) > self._description_place:
                return self._call_settled(args, kwargs)
            self._bind_arguments(args, kwargs)
        call = self._call
        if call is None:
            call = self._call = self._owner.bind(self._spec)
        future: TaskFuture[R] = call.owner.register(call, args, kwargs, workflow_id)
        return future


def _is_plain(value: Any) -> bool:
    """Tell whether *value* is of plain values alone, so that equal bytes stand for equal ones."""
    kind = type(value)
    if kind is dict:
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    if kind is list or kind is tuple:
        return all(map(_is_plain, value))
    return kind in _PLAIN


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # a built-in that does not tell
        return None


def _arity(signature: inspect.Signature | None) -> tuple[int, int]:
    """Return the fewest and the most positional arguments that need no closer look."""
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
