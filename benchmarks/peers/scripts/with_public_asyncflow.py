from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from _work import TRUE, WORKERS, answer, kind
from radical.asyncflow import WorkflowEngine
from rhapsody.backends.execution.concurrent import ConcurrentExecutionBackend


async def one_more(number: int) -> int:
    return number + 1


def main() -> None:
    with asyncio.Runner() as runner:
        pool = (ThreadPoolExecutor if kind() == "thread" else ProcessPoolExecutor)(WORKERS)

        async def create() -> WorkflowEngine:
            return await WorkflowEngine.create(backend=await ConcurrentExecutionBackend(pool))

        flow = runner.run(create())
        task = flow.function_task(one_more)

        @flow.executable_task
        async def true() -> str:
            return TRUE

        async def bag(size: int) -> int:
            return len(await asyncio.gather(*[task(number) for number in range(size)]))

        async def chain(size: int) -> int:
            last = task(0)
            for _ in range(size - 1):
                last = task(last)
            return int(await last)

        async def executables(size: int) -> int:
            return len(await asyncio.gather(*[true() for _ in range(size)]))

        works = {"bag": bag, "chain": chain, "executables": executables}
        answer(
            "radical.asyncflow",
            {
                name: lambda size, work=work: runner.run(work(size))  # type: ignore[misc]
                for name, work in works.items()
            },
        )
        runner.run(flow.shutdown())


if __name__ == "__main__":
    main()
