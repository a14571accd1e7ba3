"""Tasks that are sent together with the one they wait for.

Where a task has one dependent, and that one waits for nothing else, a trip through the
engine's loop between the two serves nobody: a backend with ``chains`` gets the
dependent, and what stands behind that in the same way, in one batch, and the worker
goes on with it.  A dependent among many is not sent ahead: there the trip is shared by
all of them, and costs less than the books that a backend would have to keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._future import RemoteTaskFuture, TaskFuture
from ._prepare import FLAT
from .backend import TaskRef, TaskRequest
from .model import DEFAULT_RESOURCES, TaskKind, TaskState

if TYPE_CHECKING:
    from ._dispatch import Dispatcher

__all__ = ["send_behind"]

SUBMITTED, FUNCTION = TaskState.SUBMITTED, TaskKind.FUNCTION

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


def send_behind(dispatcher: Dispatcher, node: TaskFuture[Any], limit: int) -> int:
    """Put the chain behind *node*, which goes with this batch, into the batch.

    Returns:
        How many tasks that were, at most *limit*.
    """
    scheduler = dispatcher.scheduler
    observers = dispatcher.observers
    append = node.lane.batch.append
    count = 0
    while count < limit and node.spec.retries is None and _plain(node):
        heir: Any = scheduler.heir(node)
        if heir is None or heir.binding != FLAT or not _plain(heir):
            break
        reference = _new(TaskRef, (node.number,))
        args: list[Any] = []
        for value in heir.args:
            kind = type(value)
            if value is node:
                args.append(reference)
            elif kind is TaskFuture:
                args.append(value.result())
            elif kind is RemoteTaskFuture:
                return count  # where its value is takes a closer look, when its turn comes
            else:
                args.append(value)
        kwargs = heir.kwargs
        if kwargs:
            if RemoteTaskFuture in map(type, kwargs.values()):
                return count
            kwargs = {
                key: (reference if value is node else value.result())
                if type(value) is TaskFuture
                else value
                for key, value in kwargs.items()
            }
        scheduler.followed(node, heir)
        append(
            _new(
                TaskRequest,
                (heir.number, heir.attempt, heir.spec, tuple(args), kwargs, None, (node.number,)),
            )
        )
        if observers.events is not None:
            observers.tell(heir, SUBMITTED)
        node = heir
        count += 1
    return count


def _plain(node: TaskFuture[Any]) -> bool:
    """Whether it is a function that asks for nothing."""
    spec = node.spec
    asked = spec.resources
    return spec.kind is FUNCTION and (asked is DEFAULT_RESOURCES or asked == DEFAULT_RESOURCES)
