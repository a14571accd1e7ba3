"""The asyncio tasks in which the engine works for the tasks of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from .._task.future import Activity, TaskFuture, Work, extras_of

__all__ = ["Background"]


class Background:
    """The asyncio tasks of one run; it keeps them alive, and ends them with the run."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Run *coroutine* as an asyncio task that this object keeps alive.

        It begins in a later step of the loop, even if the loop's tasks start eagerly.
        """
        if self._loop.get_task_factory() is not None:
            coroutine = _begin_later(coroutine)
        task = self._loop.create_task(coroutine, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def work_for(
        self, node: TaskFuture[Any], activity: Activity, coroutine: Coroutine[Any, Any, Any]
    ) -> None:
        """Run *coroutine*, which does *activity* for *node* and clears ``extras.work``."""
        extras_of(node).work = Work(activity, self.spawn(coroutine))

    async def wait_all(self) -> None:
        """Wait for everything that is under way, such as values that are being fetched."""
        while tasks := [task for task in self._tasks if task is not asyncio.current_task()]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Cancel everything that is still under way, and wait for its end."""
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _begin_later(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await *coroutine* after one step of the loop."""
    try:
        await asyncio.sleep(0)
    except BaseException:
        coroutine.close()  # it never began
        raise
    return await coroutine
