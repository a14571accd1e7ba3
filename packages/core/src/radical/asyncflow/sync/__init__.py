"""Write a workflow without asyncio: the same tasks, and futures that block.

The engine runs in a thread of its own, and calls of decorated functions return futures as those of
`concurrent.futures`, which other tasks take as arguments::

    from radical.asyncflow.sync import Flow

    with Flow("concurrent") as flow:

        @flow.function_task
        def double(number: int) -> int:
            return 2 * number

        print(double(double(10)).result())
"""

from __future__ import annotations

from .._threads.executor import TaskExecutor
from .._threads.futures import TaskFuture, TaskItem
from ._completed import AsCompleted
from ._flow import Flow
from ._tasks import TaskFunction

__all__ = ["AsCompleted", "Flow", "TaskExecutor", "TaskFunction", "TaskFuture", "TaskItem"]
