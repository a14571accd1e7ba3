"""Checks: a cancelled task ends, and its work with it where the backend says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ...engine import WorkflowEngine
from ...events import Event, TaskEvent
from ...model import TaskState
from .. import _functions as functions
from .._calls import WatchedId, calls
from .bare import Bare
from .needs import needs
from .suite import Suite
from .waiting import appears, falls_still, open_gate, until


class Cancellation(Suite):
    @needs("function", "executes")
    async def test_a_task_cancelled_at_once_never_runs(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        future = flow.function_task(functions.next_number)(folder)
        assert future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        assert future.state == "CANCELLED"
        assert await flow.function_task(functions.next_number)(folder) == 1

    @needs("function", "executes")
    async def test_a_task_that_waits_for_another_can_be_cancelled(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        first = flow.function_task(functions.hold)(folder)
        second = flow.function_task(functions.identity)([first])
        await appears(folder, "began-task")
        assert second.cancel()
        open_gate(folder)
        assert await first == "task"
        assert second.cancelled()

    @needs("function", "executes", "slots", "workers")
    async def test_a_queued_task_is_cancelled_while_the_others_run_on(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        assert self.slots is not None
        busy = await self._fill(flow, folder)
        queued = flow.function_task(name="queued")(functions.hold_blocking)(folder, "queued")
        await self._is_submitted(flow, "queued")
        assert queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(queued, self.patience)
        await asyncio.sleep(self.travel)
        open_gate(folder)
        assert await asyncio.gather(*busy) == list(range(self.slots))
        assert not (Path(folder) / "began-queued").exists()

    async def _is_submitted(self, flow: WorkflowEngine, name: str) -> None:
        """Wait until the backend has the task of that name."""
        sought = (name, TaskState.SUBMITTED)
        submitted = asyncio.Event()

        def watch(events: Sequence[Event]) -> None:
            for event in events:
                if isinstance(event, TaskEvent) and (event.name, event.state) == sought:
                    submitted.set()

        stop = flow.observe(watch)
        await asyncio.wait_for(submitted.wait(), self.patience)
        stop()

    @needs("function", "executes", "kills functions")
    async def test_the_work_of_a_running_async_function_stops(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        await self._stops(flow, functions.beat, folder)

    @needs("function", "executes", "kills functions", "workers")
    async def test_the_work_of_a_running_function_stops(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        await self._stops(flow, functions.beat_blocking, folder)

    async def _stops(self, flow: WorkflowEngine, body: Any, folder: str) -> None:
        future = flow.function_task(body)(folder)
        await appears(folder, "beats")
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(future, self.patience)
        await falls_still(folder, self.patience)

    @needs("function", "executes", "spares functions", "shares memory")
    async def test_a_running_function_is_told_that_it_was_cancelled(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        future = flow.function_task(functions.hold_until_cancelled)(folder)
        await appears(folder, "began-task")
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(future, self.patience)
        await appears(folder, "cancelled-True", self.patience)

    @needs("function", "executes", "spares functions")
    async def test_the_future_of_a_function_that_runs_on_ends_at_once(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        future = flow.function_task(functions.hold_blocking)(folder)
        await appears(folder, "began-task")
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(future, self.patience)
        assert not (Path(folder) / "ended-task").exists()
        open_gate(folder)
        await appears(folder, "ended-task")

    @needs("function", "executes", "slots", "workers")
    async def test_a_cancelled_function_gives_its_slot_back(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        assert self.slots is not None
        busy = await self._fill(flow, folder)
        for future in busy:
            future.cancel()
        open_gate(folder)
        await asyncio.gather(*busy, return_exceptions=True)
        again = await asyncio.wait_for(
            asyncio.gather(*await self._fill(flow, folder)), self.patience
        )
        assert again == list(range(self.slots))

    async def _fill(self, flow: WorkflowEngine, folder: str) -> list[Any]:
        """Start as many functions as there are slots, and wait until all have begun."""
        hold = flow.function_task(functions.hold_blocking)
        busy = [hold(folder, at) for at in range(self.slots or 0)]
        for at in range(len(busy)):
            await appears(folder, f"began-{at}")
        return busy

    @needs("function", "executes")
    async def test_cancelling_a_finished_task_changes_nothing(self, flow: WorkflowEngine) -> None:
        future = flow.function_task(functions.identity)("kept")
        await future
        assert not future.cancel()
        assert (future.result(), future.state) == ("kept", "DONE")

    @needs("function", "executes")
    async def test_cancelling_twice_is_cancelling_once(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        future = flow.function_task(functions.hold)(folder)
        await appears(folder, "began-task")
        future.cancel()
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(future, self.patience)
        open_gate(folder)
        assert await flow.function_task(functions.identity)("alive") == "alive"

    @needs("function", "executes")
    async def test_a_thousand_cancels_leave_the_rest_alone(self, flow: WorkflowEngine) -> None:
        value = flow.function_task(functions.identity)
        futures = [value(at) for at in range(1_100)]
        await asyncio.sleep(0)
        for future in futures[100:]:
            future.cancel()
        done, _ = await asyncio.wait(futures, timeout=self.patience)
        assert len(done) == len(futures)
        assert [future.result() for future in futures[:100]] == list(range(100))
        assert await value("alive") == "alive"

    @needs("function", "executes", "slots", "workers")
    async def test_the_cost_of_cancelling_what_is_queued_follows_its_number(
        self, bare: Bare, folder: str
    ) -> None:
        assert self.slots is not None
        busy = [bare.request(functions.hold_blocking, folder, at) for at in range(self.slots)]
        bare.submit(*busy)
        for at in range(len(busy)):
            await appears(folder, f"began-{at}")
        number = max(self.load // 10, 200)
        fewer = await self._cost_of_cancelling(bare, number)
        more = await self._cost_of_cancelling(bare, 2 * number)
        open_gate(folder)
        await bare.sink.outcomes(busy, self.patience)
        assert more < 3 * fewer  # four times as much if each cancel looks at all the others

    async def _cost_of_cancelling(self, bare: Bare, number: int) -> int:
        """Count the calls that it takes to cancel *number* queued tasks, the last one first."""
        queued = [
            request._replace(task_id=WatchedId(request.task_id))
            for request in (bare.request(functions.identity, at) for at in range(number))
        ]
        bare.submit(*queued)
        cost = calls(
            lambda: [bare.backend.cancel([request.task_id]) for request in reversed(queued)]
        )
        reports = await bare.sink.outcomes(queued, self.patience)
        assert {report.state for report in reports} == {TaskState.CANCELLED}
        return cost

    @needs("function", "executes")
    async def test_a_timeout_around_a_task_cancels_it(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        future = flow.function_task(functions.hold)(folder)
        await appears(folder, "began-task")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await future
        assert future.cancelled()
        open_gate(folder)

    @needs("function", "executes")
    async def test_wait_for_around_a_task_cancels_it(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        future = flow.function_task(functions.hold)(folder)
        await appears(folder, "began-task")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.05)
        assert future.cancelled()
        open_gate(folder)

    @needs("function", "executes")
    async def test_a_task_group_that_fails_cancels_its_tasks(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        future = flow.function_task(functions.hold)(folder)

        async def wait() -> None:
            await future

        async def fail() -> None:
            await appears(folder, "began-task")
            raise ValueError("ends the group")

        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait())
                group.create_task(fail())

        with pytest.raises(ExceptionGroup):
            await both()
        assert future.cancelled()
        open_gate(folder)

    @needs("function", "executes")
    async def test_dependents_of_a_cancelled_task_do_not_hang(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        first = flow.function_task(functions.hold)(folder)
        second = flow.function_task(functions.identity)(first)
        await appears(folder, "began-task")
        first.cancel()
        open_gate(folder)
        await until(second.done, "the dependent ended", self.patience)
        assert second.cancelled() or second.exception() is not None
