"""Replace the futures among the arguments of a task that is about to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._files.declared import InputFile
from .._graph.arguments import rewrite_call
from .._graph.items import ItemOf, item_of, parent_of
from .._task.future import RemoteTaskFuture, TaskFuture, outside_awaitables
from .._task.service import ServiceFuture, ServiceInfo
from ..backend import TaskRef
from ..errors import CycleError, DependencyFailureError
from ..model import TaskKind, TaskState

__all__ = ["FUTURES", "UnfinishedArguments", "substitute", "substitute_flat"]

FUTURES = frozenset({TaskFuture, RemoteTaskFuture})

DONE, SUBMITTED, RUNNING = TaskState.DONE, TaskState.SUBMITTED, TaskState.RUNNING

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


class UnfinishedArguments(Exception):  # noqa: N818 - a signal to the caller, not an error
    """The signal that a task has unfinished futures among its arguments that it must wait for.

    Attributes:
        futures: those futures; they were put into a container after the call, or their value
            is on another backend.
    """

    def __init__(self, futures: list[TaskFuture[Any]]) -> None:
        super().__init__()
        self.futures = futures


def substitute_flat(
    node: TaskFuture[Any],
) -> tuple[tuple[Any, ...], Mapping[str, Any], tuple[int, ...]]:
    """Do the same as `substitute` where each future is itself an argument: the usual case."""
    if node._kwargs:
        return substitute(node)
    args: list[Any] = []
    refs: list[int] = []
    lane = node._call.lane
    for value in node._args:
        if type(value) in FUTURES:
            stage = value._stage
            if stage is DONE and type(value) is TaskFuture:
                args.append(value.result())
            elif (
                value._native
                and node._native
                and value._call.lane is lane
                and (stage is SUBMITTED or stage is RUNNING)
            ):
                refs.append(value._number)
                args.append(_new(TaskRef, (value._number,)))
            else:
                return substitute(node)
        else:
            args.append(value)
    return tuple(args), node._kwargs, tuple(refs)


def substitute(
    node: TaskFuture[Any],
) -> tuple[tuple[Any, ...], Mapping[str, Any], tuple[int, ...]]:
    """Replace futures anywhere in the arguments of *node* by their values.

    A value that the backend of *node* has, or will have, becomes a `TaskRef`.

    Returns:
        The arguments, the keyword arguments, and the task ids of the references.

    Raises:
        UnfinishedArguments: some futures are unfinished.
        CycleError: the task's own future is among them.
        LookupError: a result does not have an item that is among them.
        DependencyFailureError: a value that is elsewhere could not be fetched.
        asyncio.CancelledError: fetching it was cancelled.
    """
    refs: list[int] = []
    unfinished: list[TaskFuture[Any]] = []
    outside = outside_awaitables(node)

    def value_of(leaf: Any) -> Any:
        if isinstance(leaf, ServiceInfo | ServiceFuture):
            return _info_of(leaf, node, unfinished)
        if isinstance(leaf, TaskFuture) and leaf._owner is node._owner:
            if _backend_has(leaf, node):
                refs.append(leaf._number)
                return TaskRef(leaf._number)
            return _value_of(leaf, node) if _is_here(leaf, node, unfinished) else leaf
        if isinstance(leaf, ItemOf) and owner_of(leaf._future) is node._owner:
            # The backend may have the result, but not the item of it.
            if _is_here(leaf._future, node, unfinished):
                return item_of(leaf, _value_of(leaf._future, node))
            return leaf
        if isinstance(leaf, InputFile):
            source = parent_of(leaf.source)
            if owner_of(source) is node._owner and _is_here(source, node, unfinished):
                _value_of(source, node)
            return leaf
        awaited = outside.get(id(leaf))
        return leaf if awaited is None else awaited.result()

    args, kwargs = rewrite_call(node._args, node._kwargs, value_of)
    if unfinished:
        raise UnfinishedArguments(unfinished)
    return args, kwargs, tuple(refs)


def owner_of(thing: Any) -> Any:
    """Return the owner of *thing*, if it is the future of a task; else None."""
    return thing._owner if isinstance(thing, TaskFuture) else None


def _is_here(
    future: TaskFuture[Any], node: TaskFuture[Any], unfinished: list[TaskFuture[Any]]
) -> bool:
    """Tell whether the value of *future* is here; if not, add it to *unfinished*."""
    if future is node:
        raise CycleError(f"task {node.name!r} has its own future among its arguments")
    if future._stage is DONE and future.done():
        return True
    unfinished.append(future)
    return False


def _info_of(
    leaf: ServiceInfo | ServiceFuture, node: TaskFuture[Any], unfinished: list[TaskFuture[Any]]
) -> Any:
    """Return the info of a service as it is now, or add to *unfinished* the task that starts it."""
    service = leaf._service
    if service.future._owner is not node._owner:
        return str(leaf)
    if (awaited := service.awaited) is not None:
        unfinished.append(awaited)
        return leaf
    info = _value_of(service.future, node)
    in_loop = node._spec.kind is TaskKind.BLOCK
    return str(info) if isinstance(info, ServiceInfo) and not in_loop else info


def _backend_has(future: TaskFuture[Any], node: TaskFuture[Any]) -> bool:
    """Tell whether the backend of *node* has, or will have, the value of *future*.

    This holds for functions only: any other body runs here and needs the value itself.
    """
    if future._lane is not node._lane or node._spec.kind is not TaskKind.FUNCTION:
        return False
    if future._stage is DONE:
        return type(future) is RemoteTaskFuture and future._remote is not None
    if not (future._native and node._native and SUBMITTED <= future._stage < DONE):
        return False
    # If the future was put in after the call, *node* has to wait for it first; otherwise
    # its failure would not make *node* fail.
    extras = node._extras
    if extras is None or extras.arguments is None or extras.arguments.dependencies is None:
        return True
    return future._number in extras.arguments.dependencies


def _value_of(future: TaskFuture[Any], node: TaskFuture[Any]) -> Any:
    """Return the value of *future*, or raise the error with which fetching it failed."""
    error = future.exception()
    if error is None:
        return future.result()
    raise DependencyFailureError(node.name, [future.name], future.name, error) from error
