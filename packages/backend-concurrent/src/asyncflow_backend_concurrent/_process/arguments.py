"""Tasks on their way to a worker: many as one pickle, but nothing that two could share."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from radical.asyncflow.backend import TaskRef, TaskRequest
from radical.asyncflow.worker import Code, by_value, unsendable

from .child import Batch, Parcel, Previous
from .wire import ATOMS, Part, dump, plain

__all__ = ["batches", "dump_arguments"]


def batches(
    chunk: Sequence[TaskRequest],
    gpus: tuple[int, ...],
    buffers: list[Part],
    code_of: Callable[[TaskRequest], Code | None],
    fail: Callable[[int, BaseException], None],
) -> list[Batch]:
    """The tasks of *chunk* in order, by their functions; large buffers go to *buffers*.

    Args:
        code_of: gives the function of a task; None if it cannot be sent.
        fail: is called with the position of a task that cannot be sent, and why.
    """
    result: list[Batch] = []
    spec = None
    for at, (task_id, attempt, its_spec, args, kwargs, _, needs) in enumerate(chunk):
        if its_spec is not spec:
            spec = its_spec
            code = code_of(chunk[at])
            batch: Batch = (code.number if code is not None else 0, spec.name, gpus, [], [], [])
            result.append(batch)
            ids, attempts, arguments = batch[3:]
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
        parcel: Parcel | None = None
        try:
            parcel = [dump_arguments(its_spec.function, args, kwargs, buffers), first, len(buffers)]
        except BaseException as exc:  # whatever the arguments' own methods raise
            del buffers[first:]
            fail(at, unsendable("arguments", exc))
        arguments.append(parcel)
    return result


def dump_arguments(
    function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], buffers: list[Part]
) -> bytes:
    """Both kinds of arguments as a pickle, their large buffers appended to *buffers*.

    Raises:
        BaseException: whatever the arguments' own methods raise.
    """
    both = (args, dict(kwargs))
    if plain(both, 3):
        return pickle.dumps(both, 5)
    with by_value(function):
        return dump(both, buffers, by_value=True)
