"""Checks: values flow from task to task, in order, however they are nested."""

from __future__ import annotations

import asyncio

import pytest

from ...engine import WorkflowEngine
from ...errors import DependencyFailureError
from .. import _functions as functions
from .needs import needs
from .suite import Suite


class Dependencies(Suite):
    @needs("function", "executes")
    async def test_a_chain_passes_its_value_on(self, flow: WorkflowEngine) -> None:
        add = flow.function_task(functions.add)
        future = add(0, 1)
        for _ in range(99):
            future = add(future, 1)
        assert await future == 100

    @needs("function", "executes")
    async def test_a_fan_meets_again(self, flow: WorkflowEngine) -> None:
        add = flow.function_task(functions.add)
        total = flow.function_task(functions.total)
        root = add(1, 0)
        assert await total([add(root, number) for number in range(100)]) == 5050

    @needs("function", "executes")
    async def test_a_diamond_meets_again(self, flow: WorkflowEngine) -> None:
        add = flow.function_task(functions.add)
        top = add(1, 1)
        left, right = add(top, 10), add(top, 20)
        assert await add(left, right) == 34

    @needs("function", "executes")
    async def test_layers_meet_again(self, flow: WorkflowEngine) -> None:
        add = flow.function_task(functions.add)
        total = flow.function_task(functions.total)
        layer = [add(0, 1) for _ in range(10)]
        for _ in range(5):
            layer = [add(layer[at], layer[at - 1]) for at in range(10)]
        assert await total(layer) == 10 * 2**5

    @needs("function", "executes")
    async def test_futures_nested_in_containers_are_resolved(self, flow: WorkflowEngine) -> None:
        value = flow.function_task(functions.identity)
        nested = {"a": [value(1), (value(2), {"b": value(3)})], "c": {4}, "d": value(5)}
        everything = flow.function_task(functions.everything)
        args, kwargs = await everything(nested, (), last=[value(6)])
        assert args == ({"a": [1, (2, {"b": 3})], "c": {4}, "d": 5}, ())
        assert kwargs == {"last": [6]}

    @needs("function", "executes")
    async def test_one_future_may_stand_in_many_places(self, flow: WorkflowEngine) -> None:
        one = flow.function_task(functions.identity)(1)
        assert await flow.function_task(functions.total)([one, one, {"x": (one, one)}]) == 4

    @needs("function", "executes")
    async def test_a_sync_task_may_follow_an_async_one_and_back(self, flow: WorkflowEngine) -> None:
        sync = flow.function_task(functions.identity)
        coro = flow.function_task(functions.identity_async)
        assert await coro(sync(coro(sync("through")))) == "through"

    @needs("function", "executes")
    async def test_a_finished_future_may_be_an_argument(self, flow: WorkflowEngine) -> None:
        add = flow.function_task(functions.add)
        early = add(1, 1)
        await early
        assert await add(early, 1) == 3

    @needs("function", "executes")
    async def test_a_dependent_starts_after_its_dependency_ended(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        first = flow.function_task(functions.next_number)(folder)
        second = flow.function_task(lambda place, _: functions.next_number(place))(folder, first)
        assert (await first, await second) == (1, 2)

    @needs("function", "executes")
    async def test_a_value_that_nobody_here_asks_for_still_reaches_its_dependent(
        self, flow: WorkflowEngine
    ) -> None:
        make = flow.function_task(lambda: bytes(100_000))
        measure = flow.function_task(len)
        assert await measure(make()) == 100_000

    @needs("function", "executes")
    async def test_a_failed_dependency_fails_its_dependents(self, flow: WorkflowEngine) -> None:
        value = flow.function_task(functions.identity)
        bad = flow.function_task(functions.fail)("the root")
        middle = value([bad])
        end = value({"in": middle})
        with pytest.raises(DependencyFailureError) as caught:
            await end
        assert isinstance(caught.value.__cause__, ValueError)
        assert caught.value.__cause__.args == ("the root",)
        assert isinstance(middle.exception(), DependencyFailureError)

    @needs("function", "executes")
    async def test_a_dependent_of_a_failed_task_never_runs(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        bad = flow.function_task(functions.fail)()
        dependent = flow.function_task(lambda place, _: functions.next_number(place))(folder, bad)
        with pytest.raises(DependencyFailureError):
            await dependent
        assert functions.next_number(folder) == 1

    @needs("function", "executes")
    async def test_a_failure_leaves_the_other_branch_alone(self, flow: WorkflowEngine) -> None:
        add = flow.function_task(functions.add)
        root = add(1, 1)
        bad = flow.function_task(lambda value: functions.fail(str(value)))(root)
        good = add(root, 40)
        results = await asyncio.gather(bad, good, return_exceptions=True)
        assert isinstance(results[0], ValueError)
        assert results[1] == 42

    @needs("executable", "executes")
    async def test_an_executable_takes_and_gives_values(self, flow: WorkflowEngine) -> None:
        echo = flow.executable_task(lambda *words: ["echo", *map(str, words)])
        first = echo("one")
        assert await echo(first, "two") == "one\n two\n"
