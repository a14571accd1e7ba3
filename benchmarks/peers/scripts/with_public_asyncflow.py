from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import _work
from _work import TRUE, WORKERS, answer, kind
from radical.asyncflow import WorkflowEngine
from rhapsody.backends.execution.concurrent import ConcurrentExecutionBackend

# Its function tasks have to be asynchronous, and the workers find them by name.


async def one_more(*args: Any) -> Any:
    return _work.one_more(*args)


async def top(*args: Any) -> Any:
    return _work.top(*args)


async def count(*args: Any) -> Any:
    return _work.count(*args)


async def shifted(*args: Any) -> Any:
    return _work.shifted(*args)


async def first(*args: Any) -> Any:
    return _work.first(*args)


async def pause(*args: Any) -> Any:
    return _work.pause(*args)


def main() -> None:
    with asyncio.Runner() as runner:
        pool = (ThreadPoolExecutor if kind() == "thread" else ProcessPoolExecutor)(WORKERS)

        async def create() -> WorkflowEngine:
            return await WorkflowEngine.create(backend=await ConcurrentExecutionBackend(pool))

        flow = runner.run(create())
        bodies: tuple[Callable[..., Any], ...] = (one_more, top, count, shifted, first, pause)
        tasks = {body.__name__: flow.function_task(body) for body in bodies}

        @flow.executable_task
        async def true() -> str:
            return TRUE

        # It makes an asyncio task of each call, which needs a running loop.
        calls: list[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]] = []

        def later(task: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
            handle: asyncio.Future[Any] = runner.get_loop().create_future()
            calls.append((handle, task, args))
            return handle

        def results(handles: Sequence[Any]) -> Sequence[Any]:
            async def wait() -> Sequence[Any]:
                futures: dict[Any, Any] = {}
                for handle, task, args in calls:
                    futures[handle] = task(*[_resolve(futures, value) for value in args])
                calls.clear()
                return await asyncio.gather(*[futures[handle] for handle in handles])

            return runner.run(wait())

        def trips(body: Callable[..., Any], size: int) -> int:
            async def call() -> int:
                return len([await tasks[body.__name__](number) for number in range(size)])

            return runner.run(call())

        answer(
            "radical.asyncflow",
            lambda body, *args: later(tasks[body.__name__], *args),
            results,
            lambda: later(true),
            trips,
        )
        runner.run(flow.shutdown())


def _resolve(futures: dict[Any, Any], value: Any) -> Any:
    return futures[value] if isinstance(value, asyncio.Future) else value


if __name__ == "__main__":
    main()
