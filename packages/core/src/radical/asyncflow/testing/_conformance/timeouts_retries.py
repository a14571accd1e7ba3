"""Checks: the engine's limits and second chances reach the work on this backend."""

from __future__ import annotations

import asyncio

import pytest

from ...engine import WorkflowEngine
from ...errors import TaskTimeoutError
from ...model import RetryPolicy
from .. import _functions as functions
from .needs import needs, slow
from .suite import Suite
from .waiting import appears, falls_still, open_gate


class TimeoutsRetries(Suite):
    @needs("function", "executes")
    async def test_a_run_that_takes_too_long_fails(self, flow: WorkflowEngine, folder: str) -> None:
        future = flow.function_task(timeout=0.2)(functions.hold)(folder)
        with pytest.raises(TaskTimeoutError):
            await asyncio.wait_for(asyncio.shield(future), self.patience)
        assert future.state == "FAILED"
        open_gate(folder)

    @needs("function", "executes", "workers")
    async def test_a_blocking_function_that_takes_too_long_fails(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        future = flow.function_task(timeout=0.2)(functions.hold_blocking)(folder)
        # Opened at the end of the test, so that a thread which cannot be ended ends.
        try:
            with pytest.raises(TaskTimeoutError):
                await asyncio.wait_for(asyncio.shield(future), self.patience)
        finally:
            open_gate(folder)

    @needs("function", "executes")
    async def test_a_run_within_its_timeout_succeeds(self, flow: WorkflowEngine) -> None:
        assert await flow.function_task(timeout=self.patience)(functions.identity)("fast") == "fast"

    @slow
    @needs("function", "executes", "slots", "workers")
    async def test_waiting_in_the_queue_does_not_count(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        hold = flow.function_task(functions.hold_blocking)
        busy = [hold(folder, at) for at in range(self.slots or 0)]
        for at in range(len(busy)):
            await appears(folder, f"began-{at}")
        queued = flow.function_task(timeout=0.5)(functions.identity)("in time")
        _, waiting = await asyncio.wait([queued], timeout=1.0)
        assert waiting, "more run at once than the class attribute `slots` says"
        open_gate(folder)
        assert await queued == "in time"
        await asyncio.gather(*busy)

    @needs("function", "executes", "kills functions")
    async def test_a_timeout_stops_the_work(self, flow: WorkflowEngine, folder: str) -> None:
        future = flow.function_task(timeout=0.5)(functions.beat)(folder)
        with pytest.raises(TaskTimeoutError):
            await asyncio.wait_for(asyncio.shield(future), self.patience)
        await falls_still(folder, self.patience)

    @slow
    @needs("function", "executes")
    async def test_a_task_that_timed_out_may_be_retried(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        async def slow_at_first(place: str) -> int:
            number = functions.next_number(place)
            if number == 1:
                await functions.hold(place)
            return number

        task = flow.function_task(timeout=1.0, retries=1)(slow_at_first)
        future = task(folder)
        assert await asyncio.wait_for(future, self.patience) == 2
        assert future.attempts == 2
        open_gate(folder)

    @needs("function", "executes")
    async def test_a_task_is_retried_until_it_succeeds(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        future = flow.function_task(retries=3)(functions.fail_until)(folder, 3)
        assert await future == 3
        assert future.attempts == 3

    @needs("function", "executes")
    async def test_it_gives_up_after_the_last_attempt(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        future = flow.function_task(retries=2)(functions.fail_until)(folder, 9)
        with pytest.raises(ConnectionError, match="call 3"):
            await future
        assert future.attempts == 3
        assert functions.next_number(folder) == 4

    @needs("function", "executes")
    async def test_only_the_chosen_exceptions_are_retried(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        policy = RetryPolicy(attempts=5, on=TimeoutError)
        future = flow.function_task(retries=policy)(functions.fail_until)(folder, 3)
        with pytest.raises(ConnectionError, match="call 1"):
            await future
        assert future.attempts == 1

    @needs("function", "executes")
    async def test_dependents_wait_for_the_attempt_that_succeeds(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        first = flow.function_task(retries=3)(functions.fail_until)(folder, 2)
        assert await flow.function_task(functions.add)(first, 40) == 42

    @needs("function", "executes")
    async def test_a_task_can_be_cancelled_between_its_attempts(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        policy = RetryPolicy(attempts=2, wait=self.patience)
        future = flow.function_task(retries=policy)(functions.fail_until)(folder, 9)
        await appears(folder, "call-1")
        await flow.function_task(functions.identity)()
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(future, self.patience)
        assert functions.next_number(folder) == 2
