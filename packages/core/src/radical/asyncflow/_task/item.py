"""An item of the result of a task: an argument of other calls, before the result is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any

from .._graph.items import ItemOf, item_of
from .._public import public

__all__ = ["TaskItem"]


@public("radical.asyncflow")
class TaskItem(ItemOf, Awaitable[Any]):
    """An item of a task's result, which need not be there yet: ``future[key]``.

    Pass it to other calls, alone or in lists, tuples, dicts and sets, or await it.  It is no
    task: it is looked up when what needs it is sent.  Its own items are ``item[key]``.
    """

    __slots__ = ()
    _in_place = "await it first"

    # Without it, Python would take what has items for a sequence without an end.
    __iter__ = None
    __contains__ = None

    @property
    def task(self) -> asyncio.Future[Any]:
        """The future of the task whose result has the item."""
        future: asyncio.Future[Any] = self._future
        return future

    def __getitem__(self, key: Any) -> TaskItem:
        return TaskItem(self._future, (*self._keys, key))

    def __await__(self) -> Generator[Any, None, Any]:
        return item_of(self, (yield from self._future.__await__()))
