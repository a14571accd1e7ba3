"""One cluster serves several engines."""

from __future__ import annotations

import asyncio

from asyncflow_backend_dask import DaskExecutionBackend
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import LeakGuard


def add(one: int, other: int = 0) -> int:
    return one + other


def total(numbers: list[int]) -> int:
    return sum(numbers)


async def work(backend: DaskExecutionBackend, number: int) -> tuple[int, int, str]:
    """Run a chain whose values stay on the workers, a fan with nested arguments, and a command."""
    async with WorkflowEngine.create(backend) as flow:
        one, all_of_them = flow.function_task(add), flow.function_task(total)

        @flow.executable_task
        def say(number: int) -> list[str]:
            return ["echo", str(number)]

        chain = one(number)
        for _ in range(5):
            chain = one(chain, 1)
        fan = all_of_them([one(item, number) for item in range(10)])
        return await chain, await fan, await say(chain)


async def test_engines_at_once_and_one_after_the_other_use_one_cluster() -> None:
    backend = DaskExecutionBackend(processes=False, n_workers=2, dashboard_address=None)
    async with LeakGuard(), backend:
        results = await asyncio.gather(*[work(backend, number) for number in (1, 100)])
        results.append(await work(backend, 1000))
        assert not backend.is_shut_down
    assert results == [
        (number + 5, 45 + 10 * number, f"{number + 5}\n") for number in (1, 100, 1000)
    ]


async def test_a_value_on_a_worker_can_be_had_while_another_engine_goes_on() -> None:
    backend = DaskExecutionBackend(processes=False, n_workers=1, dashboard_address=None)
    async with LeakGuard(), WorkflowEngine.create(backend) as one:
        async with WorkflowEngine.create(backend) as other:
            made = other.function_task(add)(20)
            assert await other.function_task(add)(made, 1) == 21
            assert await made == 20
        assert await one.function_task(add)(3) == 3
