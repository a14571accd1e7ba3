"""Checks: a service of functions keeps its state, answers in order, and tells how it ended."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from ...engine import WorkflowEngine
from ...errors import (
    ServiceLostError,
    ServiceStoppedError,
    TaskTimeoutError,
    UnsupportedOptionError,
    WorkerLostError,
)
from .. import _functions as functions
from .needs import needs
from .suite import Suite
from .waiting import appears, lives, open_gate, until


class Instances(Suite):
    @needs("instances")
    async def test_the_state_of_a_service_survives_between_calls(
        self, flow: WorkflowEngine
    ) -> None:
        tally = flow.service(functions.Tally)(10)
        try:
            assert await tally.add(5) == 15
            assert await tally.add(amount=-1) == 14
            assert await tally.add_async(6) == 20
            assert await tally is tally
            assert tally.state == "DONE"
        finally:
            await tally.stop()

    @needs("instances")
    async def test_calls_of_a_service_run_in_order(self, flow: WorkflowEngine) -> None:
        tally = flow.service(functions.Tally)()
        try:
            totals = await asyncio.gather(*(tally.add(number) for number in range(200)))
            assert totals == [number * (number + 1) // 2 for number in range(200)]
        finally:
            await tally.stop()

    @needs("instances")
    async def test_a_service_takes_futures_and_its_futures_go_on(
        self, flow: WorkflowEngine
    ) -> None:
        make = flow.function_task(functions.identity)
        tally = flow.service(functions.Tally)(make(7))
        try:
            total = tally.add(make(3))
            assert await make([total]) == [10]
            assert await tally.count(bytes(3_000_000)) == 3_000_000
        finally:
            await tally.stop()

    @needs("instances")
    async def test_two_services_of_a_class_share_nothing(self, flow: WorkflowEngine) -> None:
        if self.slots is not None and self.slots < 2:
            pytest.skip("there is room for one service only")
        kind = flow.service(functions.Tally)
        one, other = kind(), kind(100)
        try:
            calls = [one.add(1), other.add(1), one.add(1)]
            assert await asyncio.gather(*calls) == [1, 101, 2]
        finally:
            await asyncio.gather(one.stop(), other.stop())

    @needs("instances")
    async def test_an_error_of_a_method_leaves_the_service_as_it_is(
        self, flow: WorkflowEngine
    ) -> None:
        tally = flow.service(functions.Tally)(1)
        try:
            with pytest.raises(ValueError, match="as planned"):
                await tally.fail("as planned")
            assert await tally.add(1) == 2
        finally:
            await tally.stop()

    @needs("instances")
    async def test_a_service_that_cannot_be_made_fails_its_calls_with_the_cause(
        self, flow: WorkflowEngine
    ) -> None:
        tally = flow.service(functions.Tally)(-1)
        call = tally.add(1)
        with pytest.raises(ServiceLostError, match="cannot start below 0, at -1") as caught:
            await call
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(ValueError, match="cannot start below 0"):
            await tally

    @needs("instances")
    async def test_a_method_of_a_stopped_service_is_an_error_at_the_call(
        self, flow: WorkflowEngine
    ) -> None:
        tally = flow.service(functions.Tally)()
        last = tally.add(1)
        await tally
        await tally.stop()
        assert await last == 1
        with pytest.raises(ServiceStoppedError, match="'Tally' was stopped"):
            tally.add(1)

    @needs("instances", "slots", "workers")
    async def test_a_service_keeps_its_place_until_it_is_stopped(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        slots = self.slots
        assert slots is not None
        tally = flow.service(functions.Tally)()
        assert await tally.add(1) == 1
        hold = flow.function_task(functions.hold_blocking)
        others = [hold(folder, number) for number in range(slots)]

        def begun() -> int:
            return len([*Path(folder).glob("began-*")])

        await until(lambda: begun() >= slots - 1, "others begin", self.patience)
        assert await tally.add(1) == 2  # it answers while all other places are taken
        assert begun() == slots - 1
        await tally.stop()
        await until(lambda: begun() == slots, "the last begins", self.patience)
        open_gate(folder)
        await asyncio.gather(*others)

    @needs("instances", "workers")
    async def test_a_call_that_waits_is_cancelled_without_a_beginning(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        tally = flow.service(functions.Tally)()
        try:
            first = tally.hold(folder, "first")
            await appears(folder, "began-first", self.patience)
            second, third = tally.add(100), tally.add(1)
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.sleep(self.travel)
            open_gate(folder)
            assert await first == 0
            assert await third == 1
            assert second.cancelled()
        finally:
            await tally.stop()

    @needs("instances", "workers")
    async def test_a_call_that_runs_sees_that_it_was_cancelled(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        tally = flow.service(functions.Tally)()
        try:
            call = tally.hold_until_cancelled(folder)
            await appears(folder, "began-task", self.patience)
            call.cancel()
            await appears(folder, "cancelled-True", self.patience)
            assert await tally.add(1) == 1
        finally:
            await tally.stop()

    @needs("instances", "workers")
    async def test_a_timeout_of_a_call_counts_from_its_beginning(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        tally = flow.service(functions.Tally)()
        try:
            await tally
            first = tally.hold.options(timeout=0.3)(folder, "first")
            second = tally.add.options(timeout=self.patience)(1)
            with pytest.raises(TaskTimeoutError):
                await first
            open_gate(folder)
            assert await second == 1
        finally:
            await tally.stop()

    @needs("instances", "pickles", "isolates")
    async def test_the_death_of_a_service_fails_its_calls_with_the_true_cause(
        self, flow: WorkflowEngine
    ) -> None:
        tally = flow.service(functions.Tally)()
        await tally.add(1)
        calls = [tally.die(), tally.add(1)]
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, ServiceLostError)
            assert isinstance(error.__cause__, WorkerLostError)
        with pytest.raises(ServiceLostError, match="was lost"):
            await tally.add(1)
        assert tally.state == "FAILED"
        assert await flow.function_task(functions.identity)("after") == "after"

    @needs("instances", "pickles", "isolates")
    async def test_a_service_that_died_gets_a_new_instance(self, flow: WorkflowEngine) -> None:
        tally = flow.service(restarts=1)(functions.Tally)(10)
        try:
            assert await tally.add(1) == 11
            with pytest.raises(ServiceLostError):
                await tally.die()
            assert await tally.add(2) == 12
        finally:
            await tally.stop()

    @needs("instances", "pickles", "workers")
    async def test_an_instance_ends_with_the_engine(self, guard: None) -> None:  # noqa: ARG002
        async with await self.new_flow() as flow:
            place = await flow.service(functions.Tally)().place()
        assert place == os.getpid() or not lives(place)

    @needs("instances")
    async def test_options_that_a_method_cannot_have_are_refused(
        self, flow: WorkflowEngine
    ) -> None:
        tally = flow.service(functions.Tally)()
        try:
            with pytest.raises(UnsupportedOptionError, match="give them to the class"):
                tally.add.options(resources={"cores": 2})(1)
        finally:
            await tally.stop()
