"""The arguments of a task on their way to a worker."""

from __future__ import annotations

from radical.asyncflow.backend import TaskRequest
from radical.asyncflow.worker import by_value

from ._wire import Part, dump

__all__ = ["dump_arguments"]


def dump_arguments(request: TaskRequest, buffers: list[Part]) -> bytes:
    """Both kinds of arguments as a pickle, their large buffers appended to *buffers*.

    Raises:
        BaseException: whatever the arguments' own methods raise.
    """
    with by_value(request.spec.function):
        return dump((request.args, dict(request.kwargs)), buffers, by_value=True)
