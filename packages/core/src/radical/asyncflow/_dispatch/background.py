"""Asyncio tasks that work for the tasks of a run, kept alive and ended with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from .._task.future import Activity, TaskFuture, Work, extras_of

__all__ = ["Background"]


class Background:
    """The asyncio tasks of one run."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Run *coroutine* as an asyncio task that this object keeps alive."""
        task = self._loop.create_task(coroutine, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def work_for(
        self, node: TaskFuture[Any], activity: Activity, coroutine: Coroutine[Any, Any, Any]
    ) -> None:
        """Run *coroutine*, which does *activity* for *node*; it clears ``extras.work``."""
        extras_of(node).work = Work(activity, self.spawn(coroutine))

    async def settle(self) -> None:
        """Return when what is under way has ended, as values on their way here."""
        while tasks := [task for task in self._tasks if task is not asyncio.current_task()]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """End whatever is still under way."""
        me = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not me]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
