"""The tasks of a chunk as their worker gets them: in one pickle, with nothing shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter

from radical.asyncflow.backend import TaskRef, TaskRequest
from radical.asyncflow.errors import SerializationError
from radical.asyncflow.worker import ATOMS, Code, dump_arguments

from .child import FunctionGroup, PackedArguments, Previous
from .wire import Part

__all__ = ["group_by_function"]

# By their places, which is faster than by their names.  A later version of the contract may add
# fields behind the seven.
_NEEDED = ("task_id", "attempt", "spec", "args", "kwargs", "dependencies")
_needed = itemgetter(*map(TaskRequest._fields.index, _NEEDED))


def group_by_function(
    chunk: Sequence[TaskRequest],
    buffers: list[Part],
    code_of: Callable[[TaskRequest], Code | None],
    fail: Callable[[int, BaseException], None],
) -> list[FunctionGroup]:
    """Group *chunk*, in its order, by function; append large buffers to *buffers*.

    Args:
        code_of: returns the function of a task, or None if it cannot be sent.
        fail: called with the position of a task that cannot be sent, and why.
    """
    groups: list[FunctionGroup] = []
    spec = None
    for at, (task_id, attempt, its_spec, args, kwargs, needs) in enumerate(map(_needed, chunk)):
        if its_spec is not spec:
            spec = its_spec
            code = code_of(chunk[at])
            number = code.number if code is not None else 0
            group: FunctionGroup = (number, spec.name, [], [], [])
            groups.append(group)
            ids, attempts, arguments = group[2:]
        ids.append(task_id)
        attempts.append(attempt)
        if needs:
            args = tuple([Previous if type(value) is TaskRef else value for value in args])
            kwargs = {
                key: Previous if type(value) is TaskRef else value for key, value in kwargs.items()
            }
        if not kwargs:
            for value in args:
                if type(value) not in ATOMS and value is not Previous:
                    break
            else:
                arguments.append(args)
                continue
        first = len(buffers)
        packed: PackedArguments | None = None
        try:
            packed = [dump_arguments(its_spec.function, args, kwargs, buffers), first, len(buffers)]
        except SerializationError as error:
            fail(at, error)
        arguments.append(packed)
    return groups
