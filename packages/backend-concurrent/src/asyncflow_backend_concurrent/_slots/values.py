"""The value of one task among the arguments of the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radical.asyncflow.backend import TaskRef, TaskRequest

__all__ = ["filled", "with_value"]

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


def filled(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments with *value* in the place of the task that they wait for."""
    if len(args) == 1 and not kwargs and type(args[0]) is TaskRef:
        return (value,), kwargs
    args = tuple([value if type(item) is TaskRef else item for item in args])
    if kwargs:
        kwargs = {key: value if type(item) is TaskRef else item for key, item in kwargs.items()}
    return args, kwargs


def with_value(request: TaskRequest, value: Any) -> TaskRequest:
    """Return *request* with *value* in the place of the task that it waits for."""
    # By place, which is faster than by name.  A later contract may add fields behind these.
    task_id, attempt, spec, args, kwargs, command = request[:6]
    args, kwargs = filled(args, kwargs, value)
    return _new(TaskRequest, (task_id, attempt, spec, args, kwargs, command, (), *request[7:]))
