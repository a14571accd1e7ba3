"""Look at a workflow before it costs anything: walk its graph without running a task."""

from __future__ import annotations

import asyncio

from radical.asyncflow import WorkflowEngine


async def build(flow: WorkflowEngine) -> None:
    """Build a workflow on *flow*, for a dry run or for a real one."""

    @flow.executable_task(resources={"cores": 8})
    def simulate(seed: int) -> list[str]:
        return ["simulate", "--seed", str(seed)]

    @flow.function_task
    def analyse(output: str) -> float:
        return float(output)

    @flow.function_task
    def combine(values: list[float]) -> float:
        return sum(values) / len(values)

    await combine([analyse(simulate(seed)) for seed in range(20)])


async def main() -> None:
    async with WorkflowEngine.create(dry_run=True) as flow:
        await build(flow)
        print(flow.plan())


if __name__ == "__main__":
    asyncio.run(main())
