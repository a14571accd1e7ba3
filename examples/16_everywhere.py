"""One program for a laptop, a Dask cluster, a pilot and Slurm: a profile says where it runs.

It names no backend. Each of these commands runs it in another place, and it prints the same:

    asyncflow run --profile laptop 16_everywhere.py
    asyncflow run --profile dask 16_everywhere.py
    asyncflow run --profile pilot 16_everywhere.py
    asyncflow run --profile slurm 16_everywhere.py

The file `asyncflow.toml` beside it has the profiles.
"""

from __future__ import annotations

import asyncio

from radical.asyncflow import Command, WorkflowEngine

NUMBERS = 20_000
PARTS = 8


def longest_chain(first: int, last: int) -> tuple[int, int]:
    """Return the longest Collatz chain that begins in a range: its steps, and where it begins."""
    best = (0, 0)
    for start in range(first, last):
        number, steps = start, 0
        while number != 1:
            number = 3 * number + 1 if number % 2 else number // 2
            steps += 1
        best = max(best, (steps, start))
    return best


async def main() -> None:
    async with WorkflowEngine.create() as flow:
        search = flow.function_task(longest_chain)

        @flow.executable_task
        def sort(*chains: tuple[int, int]) -> Command:
            lines = "".join(f"{steps} steps from {start}\n" for steps, start in chains)
            return Command("sort -n -r", stdin=lines)

        size = NUMBERS // PARTS
        chains = [search(max(1, part * size), (part + 1) * size) for part in range(PARTS)]
        print(await sort(*chains), end="")


if __name__ == "__main__":
    asyncio.run(main())
