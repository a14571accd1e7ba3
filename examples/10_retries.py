"""Try a method again when it fails by chance, and take a simpler one when it fails for good."""

from __future__ import annotations

import asyncio
import random

from radical.asyncflow import RetryPolicy, WorkflowEngine, current_task


async def main() -> None:
    async with WorkflowEngine.create() as flow:

        @flow.function_task(retries=RetryPolicy(attempts=4, wait=0.01, on=ConnectionError))
        def download(name: str) -> float:
            task = current_task()
            if task is not None and task.attempt < 3:
                raise ConnectionError(f"{name} did not answer")
            return random.Random(name).uniform(1, 9)

        @flow.function_task
        def newton(value: float) -> float:
            """Return the root of *value*, if that is not too difficult."""
            if value > 5:
                raise ArithmeticError(f"no convergence for {value:.2f}")
            return float(value**0.5)

        @flow.function_task
        def bisect(value: float) -> float:
            low, high = 0.0, value + 1
            while high - low > 1e-6:
                middle = (low + high) / 2
                low, high = (middle, high) if middle**2 < value else (low, middle)
            return low

        @flow.block
        async def root(name: str) -> str:
            value = download(name)
            try:
                return f"{name}: {await newton(value):.4f}"
            except ArithmeticError as error:
                return f"{name}: {await bisect(value):.4f} by bisection, because of {error}"

        for line in await asyncio.gather(*map(root, ("alpha", "beta", "gamma"))):
            print(line)


if __name__ == "__main__":
    asyncio.run(main())
