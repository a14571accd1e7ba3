"""Send a task together with the one that it waits for.

Where a task has one dependent, and that dependent waits for nothing else, a trip through
the engine's loop between the two serves nobody.  A backend with ``chains`` therefore gets
the dependent in the same batch, and the dependent of that one, and so on; the worker goes
from one to the next.  One of several dependents is not sent ahead: they share one trip
through the loop, and that costs less than the records that a backend would have to keep.
"""

from __future__ import annotations

from typing import Any

from .._graph.arguments import FLAT
from .._task.future import NO_KWARGS, RemoteTaskFuture, TaskFuture
from ..backend import TaskRef, TaskRequest
from ..model import TaskState
from .run import Run

__all__ = ["send_behind"]

PENDING, READY, SUBMITTED = TaskState.PENDING, TaskState.READY, TaskState.SUBMITTED

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


def send_behind(run: Run, node: TaskFuture[Any], limit: int) -> int:
    """Add the chain that follows *node* to its batch; return its length, at most *limit*."""
    submitted_behind = run.scheduler.submitted_behind
    observers = run.observers
    call = node._call
    lane: Any = call.lane
    append = lane.batch.append
    number = node._number
    count = 0
    while count < limit and call.may_chain:
        dependent: Any = node._dependents
        if dependent is None or isinstance(dependent, list):
            break
        call = dependent._call
        if (
            dependent._blockers != 1
            or dependent._stage is not PENDING
            or dependent._binding != FLAT
            or not call.may_follow
            or call.lane is not lane
        ):
            break
        args = dependent._args
        kwargs = dependent._kwargs
        refs: tuple[int, ...] = (number,)
        if not lane.executes:
            args, kwargs, refs = (), NO_KWARGS, ()
        elif len(args) == 1 and not kwargs:
            args = (_new(TaskRef, refs),)
        else:
            kinds = set(map(type, args))
            kinds.update(map(type, kwargs.values()))
            if RemoteTaskFuture in kinds:
                break  # its value may be elsewhere: `sending` looks for it when its turn comes
            reference = _new(TaskRef, refs)
            args = tuple([_value(value, node, reference) for value in args])
            kwargs = {key: _value(value, node, reference) for key, value in kwargs.items()}
        submitted_behind(node, dependent)
        number = dependent._number
        fields = (
            number,
            dependent._attempt,
            call.spec,
            args,
            kwargs,
            None,
            refs,
            dependent._context,
            dependent._depth,
        )
        append(_new(TaskRequest, fields))
        if observers.events is not None:
            observers.tell(dependent, READY)
            observers.tell(dependent, SUBMITTED)
        node = dependent
        count += 1
    return count


def _value(value: Any, node: TaskFuture[Any], reference: TaskRef) -> Any:
    """Return what replaces *value* among the arguments of the dependent of *node*."""
    if value is node:
        return reference
    return value.result() if type(value) is TaskFuture else value
