"""The value of one task among the arguments of the next."""

from __future__ import annotations

from typing import Any

from radical.asyncflow.backend import TaskRef, TaskRequest

__all__ = ["refer"]

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


def refer(request: TaskRequest, value: Any) -> TaskRequest:
    """*request* with *value* where it refers to the task that it waits for."""
    task_id, attempt, spec, args, kwargs, command, _ = request
    args = tuple([value if type(item) is TaskRef else item for item in args])
    if kwargs:
        kwargs = {key: value if type(item) is TaskRef else item for key, item in kwargs.items()}
    return _new(TaskRequest, (task_id, attempt, spec, args, kwargs, command, ()))
