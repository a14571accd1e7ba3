"""Try random settings of a model, a few at a time, and keep the best three.

`flow.map` keeps at most `limit` tasks alive, so the settings may come from an endless source; the
loop stops when it has seen enough.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Iterator

from radical.asyncflow import WorkflowEngine

Settings = tuple[float, int]


def propose(seed: int) -> Iterator[Settings]:
    """Yield random learning rates and numbers of layers, without an end."""
    dice = random.Random(seed)
    while True:
        yield round(10 ** dice.uniform(-4, 0), 5), dice.randint(1, 8)


async def main() -> None:
    async with WorkflowEngine.create() as flow:

        @flow.function_task
        def train(settings: Settings) -> tuple[float, Settings]:
            """Stand for a training of an hour: return its loss, and with what it was made."""
            rate, layers = settings
            return 0.1 + (math.log10(rate) + 2) ** 2 / 5 + (layers - 4) ** 2 / 20, settings

        results = []
        async for result in flow.map(train, propose(seed=1), limit=8):
            results.append(result)
            if len(results) == 60:
                break
        for loss, (rate, layers) in heapq.nsmallest(3, results):
            print(f"loss {loss:.3f} with rate {rate} and {layers} layers")


if __name__ == "__main__":
    asyncio.run(main())
