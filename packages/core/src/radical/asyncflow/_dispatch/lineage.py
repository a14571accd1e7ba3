"""The calls behind values that stay on a backend, so that a lost value can be computed again.

While its value is only on a backend, a finished task keeps its call and its arguments.  Among
these, the record of another such task stands in the place of its future: so a value that
nobody holds is released as ever, but how it was made stays known as long as something that
was made from it exists.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from .._graph.arguments import PLAIN, rewrite_call
from .._graph.items import parent_of
from .._task.call import Call
from .._task.future import RemoteTaskFuture, TaskFuture, outside_awaitables
from .._task.item import TaskItem

__all__ = ["Lineage", "compute_again", "keep_lineage"]

Register = Callable[[Call, tuple[Any, ...], Mapping[str, Any]], TaskFuture[Any]]


class Lineage:
    """The record of how one value was made.

    Attributes:
        call: the task.
        args, kwargs: its arguments, with records in place of the futures of their values.
        parents: those records.
        future: the future of the value, as long as anybody holds it.
        again: the task that computes the value again, as long as anybody holds that.
    """

    __slots__ = ("__weakref__", "again", "args", "call", "future", "kwargs", "parents")

    def __init__(self, node: RemoteTaskFuture[Any]) -> None:
        self.call = node._call
        self.args: tuple[Any, ...] = node._args
        self.kwargs: Mapping[str, Any] = node._kwargs
        self.parents: tuple[Lineage, ...] = ()
        self.future = weakref.ref(node)
        self.again: weakref.ref[TaskFuture[Any]] | None = None
        if node._binding == PLAIN:
            return
        parents: dict[int, Lineage] = {}
        outside = outside_awaitables(node)

        def record_of(leaf: Any) -> Any:
            source = parent_of(leaf)
            if isinstance(source, RemoteTaskFuture) and source._lineage is not None:
                parents[id(source)] = source._lineage
                return source._lineage if source is leaf else TaskItem(source._lineage, leaf._keys)
            return outside.get(id(leaf), leaf)  # a coroutine cannot be awaited once more

        self.args, self.kwargs = rewrite_call(self.args, self.kwargs, record_of)
        self.parents = tuple(parents.values())

    @property
    def source(self) -> TaskFuture[Any] | None:
        """The future to take the value from; None if nobody holds one."""
        future = self.future()
        if future is None and self.again is not None:
            return self.again()
        return future


def keep_lineage(node: RemoteTaskFuture[Any]) -> None:
    """Keep how the value of *node* was made, which has just finished."""
    node._lineage = Lineage(node)


def compute_again(wanted: Lineage, register: Register) -> TaskFuture[Any]:
    """Return the task that computes the value of *wanted* again.

    What *wanted* is made from, and nobody holds any more, is computed again too; a value that
    somebody holds but that is lost as well is computed when the new task asks for it.

    Args:
        register: makes a task of a call and its arguments.
    """
    if wanted.again is not None and (running := wanted.again()) is not None:
        return running
    made: list[TaskFuture[Any]] = []  # holds them until those that take them are made
    stack = [wanted]
    while stack:
        record = stack[-1]
        missing = [parent for parent in record.parents if parent.source is None]
        if missing:
            stack += missing
            continue
        stack.pop()
        if record is not wanted and record.source is not None:
            continue  # two others are made from it

        def future_of(leaf: Any) -> Any:
            source = parent_of(leaf)
            if type(source) is not Lineage:
                return leaf
            return source.source if source is leaf else TaskItem(source.source, leaf._keys)

        task = register(record.call, *rewrite_call(record.args, record.kwargs, future_of))
        record.again = weakref.ref(task)
        made.append(task)
    return made[-1]
