"""Let a committee of models choose what to compute next: the case that they disagree about most."""

from __future__ import annotations

import asyncio
import math

from radical.asyncflow import WorkflowEngine

CASES = [number / 20 for number in range(21)]
Known = dict[float, float]


def neighbours(known: Known, case: float, count: int) -> float:
    """Return the mean of the *count* nearest known values, the nearer the heavier."""
    near = sorted(known, key=lambda other: abs(other - case))[:count]
    weights = {other: 1 / (abs(other - case) + 1e-9) for other in near}
    return sum(weights[other] * known[other] for other in near) / sum(weights.values())


async def main() -> None:
    async with WorkflowEngine.create() as flow:

        @flow.function_task
        def compute(case: float) -> float:
            """Stand for an expensive simulation, with a step that is easily overlooked."""
            return math.tanh(30 * (case - 0.7))

        @flow.function_task
        def predict(known: Known, count: int) -> list[float]:
            return [neighbours(known, case, count) for case in CASES]

        @flow.function_task
        def choose(predictions: list[list[float]], known: Known) -> float:
            spread: dict[float, float] = {}
            for case, *values in zip(CASES, *predictions, strict=True):
                if case not in known:
                    spread[case] = max(values) - min(values)
            return max(spread, key=lambda case: spread[case])

        known = {case: await compute(case) for case in (0.0, 1.0)}
        for _ in range(6):
            committee = [predict(known, count) for count in (1, 2, 3)]
            case = await choose(committee, known)
            known[case] = await compute(case)
            print(f"computed {case:.2f}: {known[case]:+.2f}")


if __name__ == "__main__":
    asyncio.run(main())
