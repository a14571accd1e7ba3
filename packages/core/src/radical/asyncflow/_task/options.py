"""The options of a task: checked once, where they are given."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

from .._public import public
from .._text import closest
from ..errors import ConfigurationError
from ..model import Resources, RetryPolicy, TaskKind, TaskSpec

__all__ = ["TaskOptions", "change_spec", "check_options", "make_spec"]


@public("radical.asyncflow")
class TaskOptions(TypedDict, total=False):
    """What a decorator and ``task.options`` take.

    Attributes:
        name: what users and dashboards see; the function's name by default.
        backend: name of the backend to run on; the engine's first by default.
        resources: a `Resources`, or a mapping such as ``{"cores": 2, "gpus": 1}``.
        retries: how many more attempts after a failed one, or a `RetryPolicy`.
        timeout: seconds that a run may take, from its start.
        capture_stdio: an executable's result is the path of its output file.
        service: run until the workflow ends, where a backend can.
        task_description: handed to the backend untouched, after it checked it.
        version: of the body, a text or a number: another one makes a journal's results void.
        cache: with a journal, whether an earlier result may stand for a run: True, that of
            the same call in an earlier run; ``"always"``, that of any equal call; False, none.
        cache_key: instead of the arguments' content: a value, or a function that is called
            with the arguments.
    """

    name: str
    backend: str | None
    resources: Resources | Mapping[str, Any] | None
    retries: int | RetryPolicy | None
    timeout: float | None
    capture_stdio: bool
    service: bool
    task_description: Mapping[str, Any] | None
    version: str | int | float
    cache: bool | Literal["always"]
    cache_key: Any


_KNOWN = tuple(TaskOptions.__annotations__)


def make_spec(function: Callable[..., Any], kind: TaskKind, options: Mapping[str, Any]) -> TaskSpec:
    """The spec of a task.

    Raises:
        ConfigurationError: all that is wrong with the options, in one message.
        TypeError: *function* cannot be the body of such a task.
    """
    if not callable(function):
        raise TypeError(f"a {kind} task is made from a function, not from {function!r}")
    if kind is TaskKind.BLOCK and not _is_async(function):
        raise TypeError(
            f"a block is an async function (it runs in the engine's loop); {_name(function)!r} is "
            "not: write 'async def', or make it a function_task"
        )
    return change_spec(TaskSpec(_name(function), kind, function), options)


def change_spec(spec: TaskSpec, options: Mapping[str, Any]) -> TaskSpec:
    """*spec* with *options* instead of its own.

    Raises:
        ConfigurationError: all that is wrong with them, in one message.
    """
    values = _values(options, spec.kind, f"task {spec.name!r}")
    return dataclasses.replace(spec, **values) if values else spec


def check_options(options: Mapping[str, Any], kind: TaskKind) -> None:
    """Raise ConfigurationError if no *kind* of task can have them; as `change_spec` does."""
    _values(options, kind, "block" if kind is TaskKind.BLOCK else f"{kind}_task")


def _values(options: Mapping[str, Any], kind: TaskKind, who: str) -> dict[str, Any]:
    """*options* as fields of a `TaskSpec`."""
    wrong = [
        f"unknown option {key!r}{closest(key, _KNOWN)}" for key in options if key not in _KNOWN
    ]
    values: dict[str, Any] = {}
    for key in _KNOWN:
        if key in options:
            field = "description" if key == "task_description" else key
            try:
                values[field] = _checked(key, options[key], kind)
            except ConfigurationError as error:
                wrong.append(str(error))
    if wrong:
        known = f" (options: {', '.join(_KNOWN)})" if "unknown option" in wrong[0] else ""
        raise ConfigurationError(f"{who}: {'; '.join(wrong)}{known}")
    return values


def _checked(key: str, value: Any, kind: TaskKind) -> Any:
    if key == "resources":
        return Resources.of(value)
    if key == "retries":
        return RetryPolicy.of(value)
    if key == "task_description":
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise ConfigurationError(f"task_description must map names to values, not {value!r}")
        return dict(value)
    if key == "timeout":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and value > 0):
            raise ConfigurationError(f"timeout must be seconds above 0 or None, not {value!r}")
        return value
    if key == "version":
        if not isinstance(value, str | int | float):
            raise ConfigurationError(f"version must be a text or a number, not {value!r}")
        return str(value)
    if key == "cache":
        if not isinstance(value, bool) and value != "always":
            raise ConfigurationError(f'cache must be True, False or "always", not {value!r}')
        if kind is TaskKind.BLOCK and value is not False:
            raise ConfigurationError("a block is not reused, the tasks that it calls are")
        return value
    if key == "cache_key":
        if value is not None and not callable(value) and type(value).__hash__ is None:
            raise ConfigurationError(
                f"cache_key must be a plain value or a function of the arguments, not {value!r}"
            )
        return value
    if key in ("capture_stdio", "service"):
        if not isinstance(value, bool):
            raise ConfigurationError(f"{key} must be True or False, not {value!r}")
        if value and key == "capture_stdio" and kind is not TaskKind.EXECUTABLE:
            raise ConfigurationError(f"capture_stdio is for executable tasks, not for a {kind}")
        return value
    if value is None and key == "backend":
        return None
    if kind is TaskKind.BLOCK and key == "backend":
        raise ConfigurationError("a block runs in the engine's loop and takes no backend")
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{key} must be a text, not {value!r}")
    return value


def _name(function: Callable[..., Any]) -> str:
    inner = getattr(function, "func", function)  # a functools.partial
    return str(getattr(inner, "__name__", type(inner).__name__))


def _is_async(function: Callable[..., Any]) -> bool:
    inner = getattr(function, "func", function)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(
        getattr(inner, "__call__", None)  # noqa: B004 - an object whose call is async
    )
