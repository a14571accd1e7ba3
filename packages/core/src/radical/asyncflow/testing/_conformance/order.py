"""Checks: what waits begins by priority, then by depth, and else as it came.

Slots work side by side, one may be held up for a moment, and one may have its next task at
hand already.  So a check allows each slot some tasks, and lets many more wait.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ..._task.future import TaskFuture
from ...engine import WorkflowEngine
from .. import _functions as functions
from .needs import needs
from .suite import Suite
from .waiting import appears, open_gate, until


class Order(Suite):
    @asynccontextmanager
    async def _all_wait(
        self, flow: WorkflowEngine, folder: str
    ) -> AsyncIterator[list[TaskFuture[Any]]]:
        """Keep every slot busy until all futures in the list are submitted; then await them."""
        hold = flow.function_task(functions.hold_blocking)
        futures: list[TaskFuture[Any]] = []
        gate = tempfile.mkdtemp(dir=folder)
        try:
            busy = [hold(gate, label) for label in range(self.slots or 0)]
            for label in range(len(busy)):
                await appears(gate, f"began-{label}")
            yield futures
            await until(lambda: all(future.attempts for future in futures), "all are submitted")
        finally:
            open_gate(gate)
        await asyncio.gather(*busy, *futures)

    @property
    def _room(self) -> int:
        """The number of tasks that may begin before one that should be the first."""
        return 8 * (self.slots or 0)

    @needs("function", "executes", "priorities")
    async def test_what_has_a_higher_priority_begins_first(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        note = flow.function_task(functions.append)
        async with self._all_wait(flow, folder) as futures:
            futures += [note.options(priority=-1)(folder, "low") for _ in range(2)]
            futures += [note(folder, "plain") for _ in range(3 * self._room + 10)]
            futures += [note.options(priority=0.5)(folder, "high") for _ in range(2)]
            futures += [note.options(priority=3)(folder, "highest") for _ in range(2)]
        begun = functions.begun(folder)
        assert len(begun) == len(futures)
        assert _last(begun, "highest") < 2 + self._room
        assert _last(begun, "high") < 4 + self._room
        assert begun.index("low") >= len(begun) - 2 - self._room

    @needs("function", "executes", "priorities")
    async def test_what_has_the_same_priority_begins_as_it_came(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        note = flow.function_task(functions.append).options(priority=1)
        half = self._room + 5
        async with self._all_wait(flow, folder) as futures:
            futures += [note(folder, str(number)) for number in range(2 * half)]
        numbers = list(map(int, functions.begun(folder)))
        if self.slots is None:
            assert numbers == list(range(2 * half))
        assert sum(numbers[:half]) < sum(numbers[half:])

    @needs("function", "executes", "priorities")
    async def test_a_dependent_begins_before_what_has_not_begun(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        note = flow.function_task(functions.append)
        roots = [note(folder, "root") for _ in range(3 * self._room + 10)]
        # Named twice, the root is no chain with its dependent.
        await asyncio.gather(*[note(folder, "end", root, root) for root in roots])
        assert functions.begun(folder).index("end") <= 2 + self._room


def _last(begun: list[str], label: str) -> int:
    return len(begun) - 1 - begun[::-1].index(label)
