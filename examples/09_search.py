"""Look for the deepest point of a landscape: each result decides what is tried next.

`flow.as_completed` yields a future as soon as its task has ended, and takes more of them meanwhile.
So four tasks run at any time, and none waits for a slower one.
"""

from __future__ import annotations

import asyncio
import math

from radical.asyncflow import WorkflowEngine

STARTS = [-4.0, -1.5, 1.0, 3.5]


async def main() -> None:
    async with WorkflowEngine.create() as flow:

        @flow.function_task
        def depth(place: float) -> float:
            return math.cos(3 * place) + (place - 1) ** 2 / 10

        known: dict[float, float] = {}
        search = flow.as_completed({depth(place): (place, place, 0.8) for place in STARTS})
        async for future, (best, place, step) in search:
            known[place] = await future
            if known[place] > known[best]:
                step *= -0.5  # that went up: turn round, and take smaller steps
            else:
                best = place
            if abs(step) > 0.001:
                following = best + step
                search.add(depth(following), (best, following, step))

        deepest = min(known, key=lambda place: known[place])
        print(f"the deepest point of {len(known)} is at {deepest:.2f}: {known[deepest]:.3f}")


if __name__ == "__main__":
    asyncio.run(main())
