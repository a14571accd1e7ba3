"""Five workflows at once: each has two tasks and a third that waits for both."""

from __future__ import annotations

import asyncio
import time

from radical.asyncflow import WorkflowEngine, factory


async def main() -> None:
    # Change only this line for another machine: to "dask" or "radical_pilot" with its settings.
    backend = await factory.create_backend("concurrent", config={"max_workers": 4})
    async with WorkflowEngine.create(backend=backend) as flow:

        @flow.executable_task
        async def task1(*args: object) -> str:
            return "/bin/date"

        @flow.executable_task
        async def task2(*args: object) -> str:
            return "/bin/date"

        @flow.executable_task
        async def task3(*args: object) -> str:
            return "/bin/date"

        async def run_workflow(number: int) -> None:
            print(f"Starting workflow {number} at {time.time():.2f}")
            with flow.workflow_scope(f"workflow.{number}"):
                await task3(task1(), task2())
            print(f"Workflow {number} completed at {time.time():.2f}")

        start = time.perf_counter()
        await asyncio.gather(*map(run_workflow, range(5)))
        print(f"\nTotal time running asynchronously is: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    asyncio.run(main())
