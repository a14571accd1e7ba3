"""Loops that are not as asyncio makes them: eager tasks, and classes that were replaced."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine


class Begun(Coroutine[Any, Any, Any]):
    """A coroutine whose first step is done when it is made."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._raised: BaseException | None = None
        self._waited: list[Any] = []
        try:
            self._waited.append(coroutine.send(None))
        except BaseException as error:
            self._raised = error

    def send(self, value: Any) -> Any:
        if self._raised is not None:
            raise self._raised
        return self._waited.pop() if self._waited else self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        if self._raised is not None:
            raise self._raised
        self._waited.clear()
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        raise NotImplementedError


def first_step_at_once(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], *, context: Any = None
) -> asyncio.Task[Any]:
    """Make a task whose first step is done before this returns, as eager tasks do it."""
    context = context or copy_context()
    return asyncio.Task(context.run(Begun, coroutine), loop=loop, context=context)


FACTORIES = [first_step_at_once]
if sys.version_info >= (3, 12):
    FACTORIES.append(asyncio.eager_task_factory)


@pytest.mark.parametrize("factory", FACTORIES)
async def test_everything_runs_where_tasks_start_eagerly(factory: Any) -> None:
    loop = asyncio.get_running_loop()
    async with WorkflowEngine.create("concurrent", {"max_workers": 2}) as flow:
        loop.set_task_factory(factory)
        try:

            @flow.executable_task
            async def echo(word: int) -> str:
                return f"echo {word}"

            @flow.function_task
            async def double(number: int) -> int:
                return 2 * number

            @flow.block
            async def work(number: int) -> int:
                return await double(int(await echo(number)))

            @flow.block
            async def fail() -> None:
                raise ValueError("its own")

            @flow.block
            async def at_once() -> int:
                return 7

            async def later() -> int:
                return 5

            assert await work(3) == 6
            assert await at_once() == 7
            assert await double(later()) == 10
            assert [value async for value in flow.map(double, range(3))] == [0, 2, 4]
            with pytest.raises(ValueError, match="its own"):
                await fail()
            for turns in range(3):
                block = work(4)
                for _ in range(turns):
                    await asyncio.sleep(0)
                block.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await block
        finally:
            loop.set_task_factory(None)


_REPLACED = """
    import asyncio
    from radical.asyncflow import InputFile, WorkflowEngine
    from radical.asyncflow.errors import ExecutableError

    # What nest_asyncio.apply() does.
    asyncio.Task = asyncio.tasks._CTask = asyncio.tasks.Task = asyncio.tasks._PyTask
    asyncio.Future = asyncio.futures._CFuture = asyncio.futures.Future = asyncio.futures._PyFuture

    async def main():
        async with WorkflowEngine.create("concurrent", {"max_workers": 1}) as flow:
            echo = flow.executable_task(lambda word: f"echo {word}")
            double = flow.function_task(lambda number: 2 * number)

            @flow.block
            async def work(number):
                return await double(int(await echo(number)))

            outside = asyncio.get_running_loop().create_future()
            waiting = double(outside)
            outside.set_result(4)
            print((await echo("hi")).strip(), await work(3), await waiting)
            print([value async for value in flow.map(double, range(3))])
            try:
                await flow.executable_task(lambda: "exit 3")()
            except ExecutableError as error:
                print(error.exit_code)
            slow = flow.executable_task(lambda: "sleep 600")()
            slow.cancel()
            print(await asyncio.gather(slow, return_exceptions=True))

    asyncio.run(main())
"""


def test_tasks_end_though_the_classes_of_asyncio_were_replaced_after_the_import() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_REPLACED)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = "hi 6 8\n[0, 2, 4]\n3\n[CancelledError('')]\n"
    assert (done.stdout, done.returncode) == (said, 0), done.stderr
