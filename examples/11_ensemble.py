"""Run an ensemble of MPI programs: each member has two ranks, and a task takes the mean.

It needs an MPI launcher, and mpi4py for the program: ``pip install mpich mpi4py``.
"""

from __future__ import annotations

import asyncio
import sys

from radical.asyncflow import WorkflowEngine

PROGRAM = """
import random, sys
from mpi4py.MPI import COMM_WORLD as world

seed, darts = map(int, sys.argv[1:])
dice = random.Random(100 * seed + world.rank)
inside = sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(darts))
total = world.reduce(inside)
if world.rank == 0:
    print(4 * total / (darts * world.size))
"""


async def main() -> None:
    # A machine with four cores or more runs two members at once.
    async with WorkflowEngine.create("concurrent", {"max_workers": 4}) as flow:

        @flow.executable_task(resources={"ranks": 2})
        def member(seed: int) -> list[str]:
            return [sys.executable, "-c", PROGRAM, str(seed), "5000"]

        @flow.function_task
        def mean(outputs: list[str]) -> float:
            return sum(map(float, outputs)) / len(outputs)

        members = [member(seed) for seed in range(4)]
        for output in await asyncio.gather(*members):
            print("a member says", output.strip())
        print(f"the ensemble says {await mean(members):.4f}")


if __name__ == "__main__":
    asyncio.run(main())
