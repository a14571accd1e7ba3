"""Checks: what a backend says of the tasks that wait, if it says anything."""

from __future__ import annotations

import asyncio
import tempfile

from ...backend import Wait, WaitKind
from ...engine import WorkflowEngine
from .. import _functions as functions
from .needs import needs
from .suite import Suite
from .waiting import appears, open_gate, until


class Waits(Suite):
    @needs("function", "executes", "slots", "workers")
    async def test_what_waiting_tasks_wait_for_is_true_or_not_told(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        hold = flow.function_task(functions.hold_blocking)
        note = flow.function_task(functions.append)
        gate = tempfile.mkdtemp(dir=folder)
        try:
            busy = [hold(gate, label) for label in range(self.slots or 0)]
            for label in range(len(busy)):
                await appears(gate, f"began-{label}")
            await until(lambda: all(one.state == "RUNNING" for one in busy), "all hold a slot")
            waits = [note(folder, str(label)) for label in range(3)]
            await until(lambda: all(one.attempts for one in waits), "all are submitted")
            running, waiting = [{one._number for one in group} for group in (busy, waits)]
            told = flow.backend.waits([*running, *waiting, 10**9])
            assert told.keys() <= waiting, "only of tasks that it has and that have not begun"
            for wait in told.values():
                assert isinstance(wait, Wait)
                assert wait.kind in WaitKind
                assert wait.text
                assert wait.text.isprintable()
                assert set(wait.holders) <= running
                assert wait.ahead is None or 0 <= wait.ahead < len(busy) + len(waits)
            answer = flow.why(waits[-1])
            assert answer.task is not None
            assert (answer.task.number, bool(answer)) == (waits[-1]._number, True)
        finally:
            open_gate(gate)
        await asyncio.gather(*busy, *waits)
        assert flow.backend.waits([*running, *waiting]) == {}

    @needs("function")
    async def test_nothing_is_told_before_the_start_and_after_the_end(self) -> None:
        backend = await self.new_backend()
        assert backend.waits([1]) == {}
        await backend.shutdown()
        assert backend.waits([1]) == {}
