"""What a type checker must accept, with the types that users rely on.  Never executed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import assert_type

from radical.asyncflow import (
    Command,
    ExecutionBackend,
    Plan,
    Resources,
    RetryPolicy,
    TaskFunction,
    TaskFuture,
    WorkflowEngine,
    factory,
)


async def engine() -> None:
    flow = await WorkflowEngine.create()
    assert_type(flow, WorkflowEngine)
    async with WorkflowEngine.create(backend="concurrent", config={"max_workers": 2}) as other:
        assert_type(other, WorkflowEngine)
    async with await WorkflowEngine.create() as third:
        assert_type(third, WorkflowEngine)
    backend = await factory.create_backend("noop")
    assert_type(backend, ExecutionBackend)
    assert_type(flow.backend, ExecutionBackend)
    assert_type(flow.plan(), Plan)
    scope: AbstractContextManager[str] = flow.workflow_scope("one")
    with scope:
        pass
    await flow.shutdown()


async def bare(flow: WorkflowEngine) -> None:
    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task
    async def name_of(number: int, *, upper: bool = False) -> str:
        return str(number).upper() if upper else str(number)

    @flow.executable_task
    async def echo(text: str) -> list[str]:
        return ["echo", text]

    @flow.executable_task
    def date() -> Command:
        return Command("date", env={"TZ": "UTC"})

    @flow.prompt_task
    def ask(question: str) -> str:
        return question

    @flow.block
    async def both(number: int) -> tuple[int, str]:
        return await double(number), await name_of(number)

    assert_type(double(1), TaskFuture[int])
    assert_type(await double(1), int)
    assert_type(await name_of(1), str)
    assert_type(await echo("x"), str)
    assert_type(await date(), str)
    assert_type(await ask("why?"), str)
    assert_type(await both(1), tuple[int, str])


async def futures_as_arguments(flow: WorkflowEngine) -> None:
    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task
    def total(numbers: list[int], *, scale: int = 1) -> int:
        return scale * sum(numbers)

    first = double(1)
    assert_type(await double(first), int)
    assert_type(await total([first, double(2)], scale=first), int)
    assert_type(await double(1, workflow_id="one"), int)
    assert_type(await double(first, workflow_id="one"), int)


async def options(flow: WorkflowEngine) -> None:
    @flow.function_task(retries=3, timeout=1.5, resources={"cores": 2})
    def double(number: int) -> int:
        return 2 * number

    @flow.function_task(retries=RetryPolicy(attempts=2), resources=Resources(cores=2))
    async def half(number: int) -> float:
        return number / 2

    @flow.executable_task(capture_stdio=True, name="list", task_description={"queue": "debug"})
    def ls() -> str:
        return "ls"

    @flow.block(name="all of it", timeout=60)
    async def whole() -> float:
        return await half(await double(2))

    assert_type(await double(1), int)
    assert_type(await half(1), float)
    assert_type(await ls(), str)
    assert_type(await whole(), float)
    limited: TaskFunction[[int], int] = double.options(timeout=3, backend="concurrent")
    assert_type(await limited(1), int)
    assert_type(await double.options(retries=1)(1), int)


async def map_and_asyncio(flow: WorkflowEngine) -> None:
    @flow.function_task
    def length(text: str) -> int:
        return len(text)

    assert_type(flow.map(length, ["a", "bc"], limit=10), AsyncIterator[int])
    async for number in flow.map(length, ["a", "bc"], ordered=False):
        assert_type(number, int)

    future: asyncio.Future[int] = length("abc")
    assert_type(await future, int)
    one, two = await asyncio.gather(length("a"), length("b"))
    assert_type(one, int)
    assert_type(two, int)
    async with asyncio.timeout(1), asyncio.TaskGroup():
        assert_type(await asyncio.wait_for(length("a"), 1), int)


async def what_a_future_tells(future: TaskFuture[int]) -> None:
    assert_type(future.state, str)
    assert_type(future.id, str)
    assert_type(future.backend, str | None)
    assert_type(future.attempts, int)
    assert_type(future.exit_code, int | None)
    assert_type(future.stdout, str | None)
    assert_type(future.cancel(), bool)
