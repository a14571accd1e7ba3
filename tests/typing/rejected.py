"""What a type checker must reject: each line that ends in ``# error``.  Never executed."""

from __future__ import annotations

from radical.asyncflow import TaskFuture, WorkflowEngine


async def options(flow: WorkflowEngine) -> None:
    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    double.options(retires=3)  # error
    double.options(timeout="5 s")  # error
    flow.function_task(timeout="5 s")  # error
    flow.executable_task(capture_stdio="yes")  # error
    flow.function_task(3)  # error


async def blocks(flow: WorkflowEngine) -> None:
    def not_async() -> int:
        return 1

    flow.block(not_async)  # error
    flow.block()(not_async)  # error


async def results(flow: WorkflowEngine) -> None:
    @flow.function_task
    def double(number: int) -> int:
        return 2 * number

    @flow.executable_task
    def echo() -> str:
        return "echo"

    text: str = await double(1)  # error
    number: int = await echo()  # error
    future: TaskFuture[str] = double(1)  # error
    double(1).upper()  # error
    print(text, number, future)


async def mapping(flow: WorkflowEngine) -> None:
    def plain(number: int) -> int:
        return number

    flow.map(plain, [1, 2])  # error
    for result in flow.map(flow.function_task(plain), [1, 2]):  # error
        print(result)


async def creation() -> None:
    WorkflowEngine.create(backend=3)  # error
    WorkflowEngine.create(max_pending="all")  # error
